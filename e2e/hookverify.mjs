// A receiver of webhooks for the end-to-end tests, on the library `standardwebhooks`. The argument is JSON: {port, keys}, where keys are
// secrets (whsec_…, v1) and public keys (whpk_…, v1a) by path. It prints "listening", and for each request a line of JSON: {path, type,
// verified, forged}; type is the event's, and forged counts what verified although a byte of it was changed.

import { createPublicKey, verify } from 'node:crypto';
import { createServer } from 'node:http';

import { Webhook } from 'standardwebhooks';

const { port, keys } = JSON.parse(process.argv[2]);

// The library knows v1 alone. Of v1a: https://github.com/standard-webhooks/standard-webhooks, "Signature scheme".
const verifiers = {
  whsec: (key, body, headers) => new Webhook(key).verify(body, headers, { jsonParse: false }),
  whpk: (key, body, headers) => {
    const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key.slice(5), 'base64')]);
    const content = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`), body]);
    const fits = headers['webhook-signature']
      .split(' ')
      .filter((signature) => signature.startsWith('v1a,'))
      .some((signature) =>
        verify(null, content, createPublicKey({ key: der, format: 'der', type: 'spki' }), Buffer.from(signature.slice(4), 'base64')),
      );
    if (!fits) throw new Error('no signature fits');
  },
};

const verifies = (key, body, headers) => {
  try {
    verifiers[key.split('_')[0]](key, body, headers);
    return true;
  } catch {
    return false;
  }
};

// Each byte of the body, changed, and what else is signed.
const forgeries = function* (body, headers) {
  for (let at = 0; at < body.length; at++) {
    const changed = Buffer.from(body);
    changed[at] ^= 1;
    yield [changed, headers];
  }
  yield [body.subarray(1), headers];
  yield [Buffer.concat([body, Buffer.from(' ')]), headers];
  yield [body, { ...headers, 'webhook-id': `${headers['webhook-id']}x` }];
  yield [body, { ...headers, 'webhook-timestamp': String(Number(headers['webhook-timestamp']) - 1) }];
  yield [body, { ...headers, 'webhook-signature': headers['webhook-signature'].replace(/,./, (start) => (start === ',A' ? ',B' : ',A')) }];
};

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const key = keys[request.url];
  const verified = verifies(key, body, request.headers);
  let forged = 0;
  for (const [bytes, headers] of forgeries(body, request.headers)) forged += verifies(key, bytes, headers);
  console.log(JSON.stringify({ path: request.url, type: JSON.parse(body).type, verified, forged }));
  response.writeHead(verified ? 204 : 401).end();
}).listen(port, '127.0.0.1', () => console.log('listening'));
