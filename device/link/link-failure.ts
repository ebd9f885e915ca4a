const ADVICE: readonly [pattern: RegExp, advice: string][] = [
  [
    /bad username or password|not authorized/i,
    "is CAMERA_ID registered on the server, and is CAMERA_SECRET the newest one? `skylapse camera rotate` makes another",
  ],
  [/ECONNREFUSED/, "nothing listens there: is the server running, and are host and port of BROKER_URL right?"],
  [/ENOTFOUND|EAI_AGAIN/, "the host name is unknown: is there a network, and is the host of BROKER_URL right?"],
  [/ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|connack timeout/i, "no answer: is there a network, and is the server running?"],
  [/CERT_NOT_YET_VALID|not yet valid|CERT_HAS_EXPIRED|has expired/i, "is this machine's clock right?"],
  [
    /self.signed|SELF_SIGNED|unable to verify|unable to get (local )?issuer/i,
    "set NODE_EXTRA_CA_CERTS to the certificate of your own authority",
  ],
  [/ALTNAME|altnames/, "the host of BROKER_URL must be one that the server's certificate names"],
  [/before secure TLS|EPROTO|wrong version number/, "that port does not use TLS: use mqtt:// or ws:// in BROKER_URL"],
  [
    /header flag bits|invalid (header|protocol|message)|unknown packet/i,
    "that port does not speak MQTT: is BROKER_URL right?",
  ],
];

/** The failure with advice for the operator. Leaves out the error's options, which may have the password. */
export function describeLinkFailure(error: Error | undefined): string {
  if (error === undefined)
    return "the connection was closed without an answer: is BROKER_URL right? If so, the server's log gives the reason";
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  // When several addresses were tried, the error has a code but no message.
  const message = error.message || code || error.name;
  const advice = ADVICE.find(([pattern]) => pattern.test(`${code} ${message}`))?.[1];
  return advice === undefined ? message : `${message} (${advice})`;
}
