/** What a failed connection says, and what somebody at the camera can do about it. */
const TROUBLES: readonly [said: RegExp, advice: string][] = [
  [
    /bad username or password|not authorized/i,
    "does the server know CAMERA_ID, and is CAMERA_SECRET the newest one? `skylapse camera rotate` makes another",
  ],
  [/ECONNREFUSED/, "nothing listens there: does the server run, and are host and port of BROKER_URL right?"],
  [/ENOTFOUND|EAI_AGAIN/, "the name is not known: is there a network, and is the host of BROKER_URL right?"],
  [/ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|connack timeout/i, "no answer: is there a network, and does the server run?"],
  [/CERT_NOT_YET_VALID|not yet valid|CERT_HAS_EXPIRED|has expired/i, "is this machine's clock right?"],
  [
    /self.signed|SELF_SIGNED|unable to verify|unable to get (local )?issuer/i,
    "an authority of your own is trusted with NODE_EXTRA_CA_CERTS",
  ],
  [/ALTNAME|altnames/, "the host of BROKER_URL must be the one that the server's certificate names"],
  [/before secure TLS|EPROTO|wrong version number/, "that port does not speak TLS: use it without the s of BROKER_URL"],
  [
    /header flag bits|invalid (header|protocol|message)|unknown packet/i,
    "that port does not speak MQTT: is BROKER_URL right?",
  ],
];

/** Why there is no link, for the log: never the password that an error's options may carry. */
export function linkTrouble(error: Error | undefined): string {
  if (error === undefined)
    return "the connection was closed without an answer: is BROKER_URL right? If so, the server's log says why";
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  // Of several addresses that were tried the error has no message, but a code.
  const said = error.message || code || error.name;
  const advice = TROUBLES.find(([pattern]) => pattern.test(`${code} ${said}`))?.[1];
  return advice === undefined ? said : `${said} (${advice})`;
}
