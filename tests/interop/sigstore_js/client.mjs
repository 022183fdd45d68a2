// Signs and verifies with the npm packages of sigstore-js, told by the files of a site.
//
//   client.mjs sign SIGNING_CONFIG TOKEN BUNDLE FILE [dsse]
//   client.mjs verify TRUSTED_ROOT BUNDLE IDENTITY ISSUER FILE
//   client.mjs tuf MIRROR ROOT CACHE            prints the trusted root's log ids

import { readFileSync, writeFileSync } from "node:fs";
import { bundleFromJSON, bundleToJSON } from "@sigstore/bundle";
import { SigningConfig, TrustedRoot } from "@sigstore/protobuf-specs";
import { bundleBuilderFromSigningConfig } from "@sigstore/sign";
import { getTrustedRoot } from "@sigstore/tuf";
import { toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";

const json = (path) => JSON.parse(readFileSync(path));
const [command, ...words] = process.argv.slice(2);

if (command === "sign") {
  const [config, token, output, file, kind] = words;
  const builder = bundleBuilderFromSigningConfig({
    signingConfig: SigningConfig.fromJSON(json(config)),
    identityProvider: { getToken: async () => token },
    bundleType: kind === "dsse" ? "dsseEnvelope" : "messageSignature",
  });
  const type = kind === "dsse" ? "application/vnd.in-toto+json" : undefined;
  const bundle = await builder.create({ data: readFileSync(file), type });
  writeFileSync(output, JSON.stringify(bundleToJSON(bundle)));
} else if (command === "verify") {
  const [root, file, identity, issuer, artifact] = words;
  const trust = toTrustMaterial(TrustedRoot.fromJSON(json(root)));
  const verifier = new Verifier(trust, { tlogThreshold: 1, ctlogThreshold: 1, tsaThreshold: 1 });
  const entity = toSignedEntity(bundleFromJSON(json(file)), readFileSync(artifact));
  verifier.verify(entity, {
    subjectAlternativeName: identity,
    extensions: { issuer },
  });
} else if (command === "tuf") {
  const [mirrorURL, rootPath, cachePath] = words;
  const root = await getTrustedRoot({ mirrorURL, rootPath, cachePath, forceInit: true });
  for (const log of root.tlogs) console.log(log.logId.keyId.toString("hex"));
} else {
  throw new Error(`unknown command ${command}`);
}
