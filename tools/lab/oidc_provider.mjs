// An OpenID provider on loopback, made of the library oidc-provider: for tests, with anybody's password.
//
//     node oidc_provider.mjs NODE_MODULES CLIENT_ID CLIENT_SECRET
//
// Says {"event": "ready", "issuer": ...} on standard output. SIGHUP gives it new signing keys, and the old ones are gone.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, clientId, clientSecret] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);

function key() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'ES256' };
}

let handle = (_, answer) => answer.writeHead(503).end();
const server = createServer((request, answer) => handle(request, answer));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;
const keys = { keys: [key()] };

function begin() {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      application_type: 'native',
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
      id_token_signed_response_alg: 'ES256',
    }],
    jwks: keys,
    cookies: { keys: [randomUUID()] },
    pkce: { required: () => true },
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  });
  handle = provider.callback();
}

begin();
process.on('SIGHUP', () => {
  keys.keys = [key()];
  begin();
  console.log(JSON.stringify({ event: 'rotated' }));
});
process.on('SIGTERM', () => process.exit(0));
console.log(JSON.stringify({ event: 'ready', issuer }));
