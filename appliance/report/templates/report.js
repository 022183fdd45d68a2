"use strict";
// Checks everything in this page's data that carries its own proof, with the browser's own
// cryptography and no network: signed notes (c2sp.org/signed-note, tlog-checkpoint), inclusion
// and consistency (RFC 9162 section 2.1), contradictions. page_check.py makes the same checks.

class Unsupported extends Error {}

const subtle = globalThis.crypto && globalThis.crypto.subtle;
const utf8 = (text) => new TextEncoder().encode(text);

function need(isSo, what) {
  if (!isSo) throw new Error(what);
}

function base64(text) {
  need(typeof text === "string" && /^[A-Za-z0-9+/]*={0,2}$/.test(text), "not base64");
  const raw = atob(text);
  need(btoa(raw) === text, "base64 not in its one spelling");
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

function hash(text) {
  need(typeof text === "string" && /^[0-9a-f]{64}$/.test(text), "not 64 hex digits");
  return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
}

function size(number) {
  need(Number.isSafeInteger(number) && number >= 0, "not a size");
  return BigInt(number);
}

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const sha256 = async (bytes) => new Uint8Array(await subtle.digest("SHA-256", bytes));
const nodeHash = (left, right) => sha256(joined([1], left, right));
const leafHash = (body) => sha256(joined([0], body));
const same = (one, other) => hex(one) === hex(other);

// Keys: their kind by how SubjectPublicKeyInfo begins.

const ED25519 = "302a300506032b6570032100";
const CURVES = [
  ["3059301306072a8648ce3d020106082a8648ce3d030107034200", "P-256", 32],
  ["3076301006072a8648ce3d020106052b81040022036200", "P-384", 48],
  ["30819b301006072a8648ce3d020106052b8104002303818600", "P-521", 66],
];
const RSA = "06092a864886f70d010101";
const RSA_LABEL = "PKIX-RSA-PKCS#1v1.5";
const HASHES = { sha256: "SHA-256", sha384: "SHA-384", sha512: "SHA-512" };

async function makeKey(stated, isV1) {
  const spki = base64(stated.publicKey);
  const begin = hex(spki);
  const name = utf8(`${stated.name}\n`);
  const key = { name: stated.name, retiredAtSize: stated.retiredAtSize ?? null };
  let hashed = spki;
  if (begin.startsWith(ED25519)) {
    need(spki.length === 44, "an Ed25519 key of another length");
    key.import = ["raw", spki.slice(12), { name: "Ed25519" }];
    key.way = { name: "Ed25519" };
    if (!isV1) hashed = joined(name, [1], spki.slice(12));
  } else if (CURVES.some(([start]) => begin.startsWith(start))) {
    const [, curve, width] = CURVES.find(([start]) => begin.startsWith(start));
    key.import = ["spki", spki, { name: "ECDSA", namedCurve: curve }];
    key.way = { name: "ECDSA", hash: HASHES[stated.hash] };
    key.width = width;
    need(key.way.hash, "a hash that is not known here");
  } else if (begin.includes(RSA)) {
    key.import = ["spki", spki, { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }];
    key.way = { name: "RSASSA-PKCS1-v1_5" };
    if (!isV1) hashed = joined(name, [255], utf8(RSA_LABEL), spki);
  }
  key.id = hex((await sha256(hashed)).slice(0, 4));
  if (!key.way) key.id = stated.keyId; // a kind that no browser knows: nothing of it is believed
  need(key.id === stated.keyId, `key id ${stated.keyId} is not that of this name and key`);
  if (stated.fingerprint !== undefined) {
    need(hex(await sha256(spki)) === stated.fingerprint, "a fingerprint that is not the key's");
  }
  return key;
}

// ECDSA in DER to the two numbers side by side that WebCrypto takes.
function plainSignature(der, width) {
  let at = 0;
  const length = () => {
    const first = der[at++];
    if (first < 128) return first;
    need(first === 129 && der[at] >= 128, "a signature that is not DER");
    return der[at++];
  };
  const number = () => {
    need(der[at++] === 2, "a signature that is not DER");
    const n = length();
    let bytes = der.slice(at, at + n);
    at += n;
    need(n > 0 && bytes.length === n && bytes[0] < 128, "a signature that is not DER");
    if (bytes[0] === 0 && n > 1) {
      need(bytes[1] >= 128, "a signature that is not DER");
      bytes = bytes.slice(1);
    }
    need(bytes.length <= width, "a signature that is too long");
    return joined(new Uint8Array(width - bytes.length), bytes);
  };
  need(der[at++] === 48, "a signature that is not DER");
  const whole = length();
  need(at + whole === der.length, "a signature that is not DER");
  const both = joined(number(), number());
  need(at === der.length, "a signature that is not DER");
  return both;
}

async function isSigned(key, text, signature) {
  if (!key.way) throw new Unsupported("a key of a kind that browsers cannot check");
  let imported;
  try {
    imported = await subtle.importKey(...key.import, false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") throw new Unsupported("this browser has no such signatures");
    throw new Error("a public key that is none");
  }
  const plain = key.width ? plainSignature(signature, key.width) : signature;
  return subtle.verify(key.way, imported, plain, text);
}

// A signed checkpoint: which of the keys signed it, and what it says.
async function opened(note, keys, origin) {
  need(typeof note === "string" && !/[\u0000-\u0009\u000b-\u001f]/.test(note), "not a note");
  const cut = note.lastIndexOf("\n\n");
  need(cut > 0 && note.endsWith("\n"), "not a note");
  const text = note.slice(0, cut + 1);
  const lines = note.slice(cut + 2, -1).split("\n");
  const signers = [];
  for (const line of lines) {
    const found = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    need(found, "not a signature line");
    const raw = base64(found[2]);
    need(raw.length > 4, "not a signature line");
    for (const key of keys) {
      if (key.name === found[1] && key.id === hex(raw.slice(0, 4))) {
        need(await isSigned(key, utf8(text), raw.slice(4)), `the signature of ${key.name} is wrong`);
        signers.push(key);
      }
    }
  }
  need(signers.length > 0, "none of the keys signed it");
  const [by, number, root, ...more] = text.slice(0, -1).split("\n");
  need(by && /^(0|[1-9][0-9]{0,18})$/.test(number) && root && !more.includes(""), "not a checkpoint");
  const rootHash = base64(root);
  need(rootHash.length === 32, "not a checkpoint");
  need(origin === null || by === origin, `it is of another log, ${by}`);
  const head = { origin: by, size: BigInt(number), root: rootHash, more };
  const limits = signers.map((key) => key.retiredAtSize);
  const isRetired = limits.every((limit) => limit !== null) && limits.every((limit) => head.size > size(limit));
  need(!isRetired, "only a key that was retired before signed it");
  return head;
}

function bitLength(number) {
  return number === 0n ? 0 : number.toString(2).length;
}

async function included(entry, head) {
  const index = size(entry.index);
  need(index < head.size, "the tree has no such entry");
  const inner = bitLength(index ^ (head.size - 1n));
  const border = [...(index >> BigInt(inner)).toString(2)].filter((bit) => bit === "1").length;
  need(entry.hashes.length === inner + border, "the proof has not as many hashes as it must");
  let root = await leafHash(base64(entry.body));
  for (const [height, text] of entry.hashes.entries()) {
    const isRight = height >= inner || (index >> BigInt(height)) & 1n;
    root = isRight ? await nodeHash(hash(text), root) : await nodeHash(root, hash(text));
  }
  need(same(root, head.root), `the proof leads to another root than size ${head.size} has`);
  return `in the tree of ${head.size}`;
}

// The roots of both trees that a consistency proof implies; the old one is given.
async function impliedRoots(oldSize, newSize, oldRoot, texts) {
  need(oldSize > 0n && oldSize < newSize, "not two trees, the larger last");
  const path = texts.map(hash);
  if ((oldSize & (oldSize - 1n)) === 0n) path.unshift(oldRoot);
  need(path.length > 0, "the proof has no hashes");
  let at = oldSize - 1n;
  let last = newSize - 1n;
  while (at & 1n) [at, last] = [at >> 1n, last >> 1n];
  let first = path[0];
  let second = path[0];
  for (const one of path.slice(1)) {
    need(last, "the proof has too many hashes");
    if (at & 1n || at === last) {
      [first, second] = [await nodeHash(one, first), await nodeHash(one, second)];
      while (!(at & 1n) && at) [at, last] = [at >> 1n, last >> 1n];
    } else {
      second = await nodeHash(second, one);
    }
    [at, last] = [at >> 1n, last >> 1n];
  }
  need(last === 0n, "the proof has too few hashes");
  return [first, second];
}

async function consistent(old, now, texts) {
  const [first, second] = await impliedRoots(old.size, now.size, old.root, texts);
  need(same(first, old.root) && same(second, now.root), `${old.size} is no prefix of ${now.size}`);
}

async function keysOf(stated) {
  const keys = [];
  for (const one of stated.keys) keys.push(await makeKey(one, stated.apiVersion === 1));
  return keys;
}

async function standalone(proof) {
  const head = await opened(proof.note, await keysOf(proof), proof.origin);
  need(head.size === size(proof.treeSize), `the note is for size ${head.size}, not as stated`);
  return included(proof, head);
}

async function contradiction(kept) {
  const keys = [];
  for (const one of kept.keys) {
    keys.push(await makeKey(one, false).catch(() => makeKey(one, true)));
  }
  const ours = await opened(kept.ours, keys, null);
  const theirs = await opened(kept.theirs, keys, null);
  need(ours.origin === kept.origin, "our note is of another log");
  need(ours.size !== theirs.size || !same(ours.root, theirs.root), "both notes say the same");
  if (ours.origin !== theirs.origin) return null;
  const [old, now] = ours.size <= theirs.size ? [ours, theirs] : [theirs, ours];
  if (old.size === now.size) return `two roots were signed for size ${old.size}`;
  if (ours === old && ours.more.some((line) => line.startsWith("Log frozen "))) {
    return `signed as frozen at ${old.size}, and has ${now.size} entries`;
  }
  const proof = kept.consistencyProof;
  if (!proof) return null;
  let implied = await sha256(new Uint8Array());
  if (old.size > 0n) {
    implied = hash(proof.oldRootHash.replace(/^sha256:/, ""));
    const [first, second] = await impliedRoots(old.size, now.size, implied, proof.hashes);
    need(same(first, implied) && same(second, now.root), "the proof leads elsewhere");
  }
  need(!same(implied, old.root), "the smaller tree is a prefix of the larger: no contradiction");
  return `the signed tree of ${now.size} has another root at ${old.size} than was signed`;
}

// What is said of a search's hits, held against the bodies of their entries.

function loose(text) {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

const latin1 = (bytes) => Array.from(bytes, (b) => String.fromCharCode(b)).join("");

// A pattern of a name's bytes: those that are no UTF-8 stand as \xff in the name.
function asWritten(name) {
  const parts = name.split(/(\\x[89a-f][0-9a-f])/).map((part) =>
    latin1(utf8(part)).replace(/[\\^$.*+?()[\]{}|\/-]/g, "\\$&"));
  return new RegExp(parts.map((part, n) => (n % 2 ? `(?:${part}|\\x${part.slice(-2)})` : part)).join(""), "g");
}

function derLength(size) {
  if (size < 128) return String.fromCharCode(size);
  let octets = "";
  for (let left = size; left > 0; left = Math.floor(left / 256)) {
    octets = String.fromCharCode(left % 256) + octets;
  }
  return String.fromCharCode(128 + octets.length) + octets;
}

// Whether a name is the whole content of a value: its length stands before it (X.690 8.1.3).
function standsWhole(name, text) {
  const pattern = asWritten(name);
  for (let found = pattern.exec(text); found; found = pattern.exec(text)) {
    const before = derLength(found[0].length);
    if (text.slice(Math.max(0, found.index - before.length), found.index) === before) return true;
    pattern.lastIndex = found.index + 1;
  }
  return false;
}

async function holds(hit, body) {
  if (!hit.digests.length && !hit.signers.length) return true;
  let told;
  try {
    told = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    return false;
  }
  need(hit.kind === `${told.kind} ${told.apiVersion}`, `entry ${hit.index} is of another kind`);
  const texts = new Set();
  const materials = new Map();
  const waiting = [told];
  while (waiting.length) {
    const one = waiting.pop();
    if (typeof one === "string") {
      const raw = loose(one);
      texts.add(one.toLowerCase()).add(hex(raw));
      materials.set(hex(await sha256(raw)), raw);
      const pem = /-----BEGIN [A-Z0-9 ]+-----([^-]*)-----END/.exec(latin1(raw));
      if (pem) materials.set(hex(await sha256(loose(pem[1]))), loose(pem[1]));
    } else if (one !== null && typeof one === "object") {
      waiting.push(...Object.values(one));
    }
  }
  for (const digest of hit.digests) {
    const value = digest.slice(digest.indexOf(":") + 1);
    need(value && texts.has(value), `${digest} is not in entry ${hit.index}`);
  }
  for (const signer of hit.signers) {
    const raw = materials.get(signer.sha256);
    need(raw && raw.length, `no signer ${signer.sha256} is in entry ${hit.index}`);
    const text = latin1(raw);
    for (const name of [...signer.identities, ...signer.issuers, ...Object.values(signer.claims)]) {
      need(standsWhole(name, text), `${name} is not in that certificate of entry ${hit.index}`);
    }
  }
  return true;
}

async function said(hits, log) {
  const entries = new Map(log.entries.map((one) => [one.index, one]));
  const roots = new Map(log.heads.map((one) => [one.treeSize, one.rootHash]));
  let isTold = true;
  for (const hit of hits) {
    const entry = entries.get(hit.index);
    need(entry, `entry ${hit.index} has no proof here`);
    const isThatTree = hit.treeSize === entry.treeSize && hit.rootHash === roots.get(entry.treeSize);
    need(isThatTree, `entry ${hit.index} is proven in another tree than is said`);
    const body = base64(entry.body);
    need(hit.leafHash === hex(await leafHash(body)), `the leaf hash of entry ${hit.index} is another`);
    if (!await holds(hit, body)) isTold = false;
  }
  return isTold ? `digests, keys, certificates and names of ${hits.length}` : null;
}

async function checkSearch(search, logs, results) {
  const stray = search.hits.find((hit) => !logs.some((log) => log.origin === hit.origin));
  need(!stray, "hits of a log that is not here");
  for (const log of logs) {
    const hits = search.hits.filter((hit) => hit.origin === log.origin);
    const what = `${log.origin}: what is said of its ${hits.length} hits is in their entries`;
    if (hits.length) results.push(await check(what, () => said(hits, log)));
  }
}

// All checks, in the order of page_check.py: [what, good (null: cannot tell), why].

async function check(what, run) {
  try {
    const found = await run();
    return [what, found === null ? null : true, found ?? "not proven by what is here"];
  } catch (error) {
    if (error instanceof Unsupported) return [what, null, error.message];
    return [what, false, error.message];
  }
}

async function checkLog(log, results) {
  const heads = [];
  const signed = await check(`${log.origin}: its key signed each head`, async () => {
    const keys = await keysOf(log);
    for (const stated of log.heads) {
      const head = await opened(stated.note, keys, log.origin);
      const isAsStated = head.size === size(stated.treeSize) && hex(head.root) === stated.rootHash;
      need(isAsStated, `the note is for size ${head.size}, not as stated`);
      heads.push(head);
    }
    need(heads.every((head, n) => n === 0 || heads[n - 1].size < head.size), "the signed heads are not in order");
    const newest = heads.length ? heads[heads.length - 1].size : 0n;
    need(!log.treeSize || newest === size(log.treeSize), `no signed head is for size ${log.treeSize}`);
    return `${heads.length} heads, up to size ${newest}`;
  });
  results.push(signed);
  if (!signed[1]) return;
  if (heads.length > 1) {
    results.push(await check(`${log.origin}: each head is a prefix of the next`, async () => {
      let gap = 0;
      for (const proof of log.consistency) {
        while (gap < heads.length - 1 && heads[gap].size !== size(proof.from)) gap += 1;
        const isNext = gap < heads.length - 1 && heads[gap + 1].size === size(proof.to);
        need(isNext, "the proofs are not those between the heads, in order");
        await consistent(heads[gap], heads[gap + 1], proof.hashes);
        gap += 1;
      }
      if (log.consistency.length === heads.length - 1) return `${log.consistency.length} proofs`;
      need(log.unproven.length > 0, "a proof between two heads is missing");
      return null;
    }));
  }
  for (const entry of log.entries) {
    results.push(await check(`${log.origin}: entry ${entry.index} is in the log`, async () => {
      const head = heads.find((one) => one.size === size(entry.treeSize));
      need(head, "no signed head is for that size");
      return included(entry, head);
    }));
  }
}

async function checkAll(data) {
  const results = [];
  for (const log of data.logs ?? []) {
    try {
      await checkLog(log, results);
    } catch (error) {
      results.push([`${log.origin}`, false, error.message]);
    }
  }
  if (data.search !== undefined) await checkSearch(data.search, data.logs, results);
  for (const [n, verdict] of (data.verdicts ?? []).entries()) {
    if (!verdict.proof) continue;
    const what = `verdict ${n + 1}: its log entry is in the log`;
    results.push(await check(what, () => standalone(verdict.proof)));
  }
  for (const kept of data.contradictions ?? []) {
    const what = `evidence ${kept.evidence}: two signed notes contradict each other`;
    results.push(await check(what, () => contradiction(kept)));
  }
  return results;
}

// The page: only text is ever put into it, and what would steer a reader is made visible.

const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/g;
const visible = (text) =>
  text.replace(STEERING, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

const at = (id) => document.getElementById(id);

function show(state, text) {
  document.documentElement.dataset.state = state;
  at("banner").className = state;
  at("banner").textContent = text;
}

function list(results) {
  for (const [what, good, why] of results) {
    const line = document.createElement("li");
    line.className = good ? "good" : good === null ? "open" : "bad";
    line.textContent = `${good ? "\u2713" : good === null ? "?" : "\u2717"} ${visible(`${what}: ${why}`)}`;
    at("checks").append(line);
  }
}

async function dropped(file, data) {
  const bytes = await file.arrayBuffer();
  const digests = {};
  for (const [name, way] of Object.entries(HASHES)) {
    digests[name] = hex(new Uint8Array(await subtle.digest(way, bytes)));
  }
  const verdicts = (data.verdicts ?? []).filter((one) =>
    Object.entries(one.digests).some(([name, text]) => digests[name] === text));
  const found = verdicts.map((one) => `${one.artifact}: ${one.code === 0 ? "verified" : `not verified (${one.reason})`}`);
  for (const hit of data.search?.hits ?? []) {
    const isIt = Object.entries(digests).some(([name, text]) => hit.digests.includes(`${name}:${text}`));
    if (isIt) found.push(`${hit.origin} ${hit.index} is about it`);
  }
  at("found").textContent =
    `sha256:${digests.sha256}: ${visible(found.join("; ")) || "nothing here is about this file"}`;
}

async function main() {
  const text = at("data").textContent;
  if (!subtle) {
    show("open", "Nothing was verified here: this browser gives a page that comes over plain http no cryptography. Save the page and open the file.");
    return;
  }
  const data = JSON.parse(text);
  const digest = hex(await sha256(utf8(text)));
  const start = performance.now();
  const results = [[
    "the data is what this page was written with",
    digest === document.body.dataset.digest,
    `SHA-256 ${digest}`,
  ]];
  results.push(...await checkAll(data));
  performance.measure("checks", { start });
  list(results);
  const count = (good) => results.filter((one) => one[1] === good).length;
  const open = count(null) ? `, ${count(null)} cannot be told from what is here` : "";
  if (count(false)) show("bad", `${count(false)} of ${results.length} checks FAILED: believe nothing on this page`);
  else show(count(null) ? "open" : "good", `${count(true)} of ${results.length} checks are good${open}. Compare the keys below by telephone`);
  at("file").addEventListener("change", (event) => dropped(event.target.files[0], data));
}

main().catch((error) => show("bad", `the checks of this page broke off: ${error.message}`));
