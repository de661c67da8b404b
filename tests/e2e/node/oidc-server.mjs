// oidc-provider (npm, MIT) on a free port of 127.0.0.1, as tests/e2e/servers/oidc.py describes it.
// Settings: JSON in SERVER_SETTINGS. Once it listens: one line of JSON on standard output. Ends with standard input.

import { createServer } from 'node:http';

console.info = console.log = console.warn = console.error; // standard output carries the one line only
const { default: Provider } = await import('oidc-provider');

const settings = JSON.parse(process.env.SERVER_SETTINGS);
delete process.env.SERVER_SETTINGS;
let tokenRequests = 0;

const client = ({ id, secret, method }) => ({
  client_id: id,
  client_secret: secret,
  token_endpoint_auth_method: method,
  scope: settings.scopes.join(' '),
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
});

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: settings.clients.map(client),
  scopes: [...settings.scopes, 'api:admin'],
  ttl: { ClientCredentials: settings.token_lifetime },
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: { enabled: false },
    devInteractions: { enabled: false },
  },
});
const handle = provider.callback();

function answer(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

// an API that asks the provider whether the bearer token is live
async function api(request, response) {
  const [scheme, token] = (request.headers.authorization ?? '').split(' ');
  const live = scheme.toLowerCase() === 'bearer' && token && await provider.ClientCredentials.find(token);
  if (!live || !live.isValid) {
    answer(response, 401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' });
  } else {
    answer(response, 200, { client_id: live.clientId, scope: live.scope ?? '' });
  }
}

server.on('request', (request, response) => {
  const path = request.url.split('?', 1)[0];
  if (path === '/_count') {
    answer(response, 200, { token_requests: tokenRequests });
  } else if (path === '/api') {
    api(request, response);
  } else {
    if (path === '/token') tokenRequests += 1;
    handle(request, response);
  }
});

process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ port })}\n`);
