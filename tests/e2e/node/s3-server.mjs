// s3rver (npm, MIT) on a free port of 127.0.0.1, as tests/e2e/servers/s3rver.py describes it.
// Settings: JSON in SERVER_SETTINGS. Once it listens: one line of JSON on standard output. Ends with standard input.

import S3rver from 's3rver';

const { folder, bucket } = JSON.parse(process.env.SERVER_SETTINGS);
const server = new S3rver({
  port: 0,
  address: '127.0.0.1',
  silent: true,
  directory: folder,
  configureBuckets: [{ name: bucket }],
});
const { port } = await server.run();

process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ port })}\n`);
