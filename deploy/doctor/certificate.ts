import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { rootCertificates } from "node:tls";
import type { TlsConfig } from "../../broker/listeners/listeners.ts";
import { reasonOf } from "../../platform/error-reason.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const DAY_MS = 86_400_000;
/** A certificate that expires within this time causes a warning, early enough to renew it. */
const SOON_MS = 21 * DAY_MS;
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** @param now milliseconds since 1970 */
export async function checkCertificate(tls: TlsConfig, host: string, now: number): Promise<Finding[]> {
  const chain = await certificatesOf("TLS_CERT", tls.certPath);
  const [leaf] = chain.certificates;
  const findings = [...chain.findings, ...(await checkKey(tls.keyPath, leaf))];
  if (leaf !== undefined)
    findings.push(checkDates("TLS_CERT", leaf, now), ...checkNames(leaf, host), ...checkChain(chain.certificates));
  if (tls.clientCaPath === undefined) return findings;
  const authorities = await certificatesOf("TLS_CLIENT_CA", tls.clientCaPath);
  findings.push(...authorities.findings);
  for (const authority of authorities.certificates) findings.push(checkDates("TLS_CLIENT_CA", authority, now));
  return findings;
}

async function certificatesOf(variable: string, path: string) {
  try {
    const certificates = ((await readFile(path, "utf8")).match(PEM) ?? []).map((pem) => new X509Certificate(pem));
    const none = wrong(variable, `${path} contains no certificate: it must be a PEM file`);
    return { certificates, findings: certificates.length === 0 ? [none] : [] };
  } catch (error) {
    const why = `cannot read ${path} (${reasonOf(error)}): give this user read access, or correct ${variable}`;
    return { certificates: [], findings: [wrong(variable, why)] };
  }
}

async function checkKey(path: string, leaf: X509Certificate | undefined): Promise<Finding[]> {
  try {
    const key = createPrivateKey(await readFile(path, "utf8"));
    const isPublic = ((await stat(path)).mode & 0o007) !== 0;
    const mismatch = `${path} is not the key of the certificate in TLS_CERT: set both to files that belong together`;
    return [
      leaf === undefined || leaf.checkPrivateKey(key) ? ok("TLS_KEY", path) : wrong("TLS_KEY", mismatch),
      ...(isPublic ? [warn("TLS_KEY", `every user of this machine can read ${path}: run chmod 640 ${path}`)] : []),
    ];
  } catch (error) {
    const advice = "it must be a PEM file that this user can read";
    return [wrong("TLS_KEY", `cannot read ${path} (${reasonOf(error)}): ${advice}`)];
  }
}

function checkDates(variable: string, certificate: X509Certificate, now: number): Finding {
  const [from, until] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  const day = (time: number) => new Date(time).toISOString().slice(0, 10);
  const name = commonNameOf(certificate.subject);
  if (now >= until) return wrong(variable, `${name} expired on ${day(until)}: renew it, and restart the server`);
  if (now < from) return wrong(variable, `${name} is not valid before ${day(from)}: check the clock of this machine`);
  const text = `${name} is valid until ${day(until)}`;
  return until - now < SOON_MS ? warn(variable, `${text}: renew it, and restart the server`) : ok(variable, text);
}

/** Clients compare the host name with the alternative names only (RFC 9525). */
function checkNames(leaf: X509Certificate, host: string): Finding[] {
  const names = leaf.subjectAltName;
  if (names === undefined)
    return [wrong("TLS_CERT", "it has no subjectAltName, so clients refuse it: renew it with the name of this server")];
  const everywhere = host === "0.0.0.0" || host === "::";
  const covers = isIP(host) === 0 ? leaf.checkHost(host) : leaf.checkIP(host);
  return everywhere || covers !== undefined
    ? [ok("TLS_CERT", `it is valid for ${names}`)]
    : [warn("TLS_CERT", `it is valid for ${names}, not for HOST ${host}: clients must connect to one of those names`)];
}

/** The certificate of the issuer must follow each certificate, up to an authority that clients know. */
function checkChain(chain: readonly X509Certificate[]): Finding[] {
  const misplaced = chain.find((certificate, index) => {
    const issuer = chain[index + 1];
    return issuer !== undefined && !certificate.checkIssued(issuer);
  });
  if (misplaced !== undefined) {
    const problem = `${commonNameOf(misplaced.subject)} is not followed by the certificate of its issuer`;
    return [wrong("TLS_CERT", `${problem}: put the certificates in that order`)];
  }
  const last = chain.at(-1);
  if (last === undefined) return [];
  const name = commonNameOf(last.subject);
  if (last.checkIssued(last))
    return [warn("TLS_CERT", `${name} is self-signed: install it at each client as an authority`)];
  const isKnown = rootCertificates.some((pem) => last.checkIssued(new X509Certificate(pem)));
  if (isKnown) return [ok("TLS_CERT", "its chain is complete")];
  const problem = `its chain ends at ${commonNameOf(last.issuer)}, which clients may not know`;
  const advice = "add the intermediate certificates, or install that authority at each client";
  return [warn("TLS_CERT", `${problem}: ${advice}`)];
}

function commonNameOf(name: string): string {
  return /^CN=(.+)$/m.exec(name)?.[1] ?? name.replaceAll("\n", ", ");
}
