// Prism (npm, Apache-2.0) on a free port of 127.0.0.1, as tests/e2e/servers/prism.py describes it.
// Settings: JSON in SERVER_SETTINGS. Once it listens: one line of JSON on standard output. Ends with standard input.

import { createLogger } from '@stoplight/prism-core';
import { getHttpOperationsFromSpec } from '@stoplight/prism-http';
import { createServer } from '@stoplight/prism-http-server';

const { description, upstream } = JSON.parse(process.env.SERVER_SETTINGS);
const operations = await getHttpOperationsFromSpec(description);

// What `prism mock --errors` and `prism proxy --errors` run with. Their logger would write to standard output.
const server = createServer(operations, {
  cors: false,
  config: {
    validateRequest: true,
    validateResponse: true,
    checkSecurity: true,
    errors: true,
    mock: { dynamic: false },
    ...(upstream ? { isProxy: true, upstream: new URL(upstream) } : { isProxy: false }),
  },
  components: { logger: createLogger('prism', { level: 'silent' }) },
});
const { port } = new URL(await server.listen(0, '127.0.0.1'));

process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ port: Number(port) })}\n`);
