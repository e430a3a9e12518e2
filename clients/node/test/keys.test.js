/** Tests of keys: a daemon that demands them, and everything that a client can get wrong. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, renameSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { AuthError, Commands, connect, Feed, loadKeys, nearest } from '../client.js';
import { Daemon, IBBRIDGE, Simulator, temporary } from './daemon.js';

const LIMIT = { timeout: 30_000 };

/** @type {Simulator} */
let simulator;
/** @type {Daemon} */
let daemon;
/** @type {string} */
let directory;
const places = { pub: '', rep: '' };

/** @returns {Promise<number>} */
const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
    server.close(() => resolve(port));
  });
});

before(async () => {
  simulator = await Simulator.start();
  directory = temporary();
  const keygen = (/** @type {string[]} */ ...given) => execFileSync(IBBRIDGE, ['keygen', ...given, '--dir', directory]);
  keygen('--server');
  keygen('alpha', '--role', 'trader');
  keygen('stranger');
  renameSync(join(directory, 'stranger.key'), join(temporary(), 'stranger.key'));
  for (const name of /** @type {const} */ (['pub', 'rep'])) places[name] = `tcp://127.0.0.1:${await freePort()}`;
  daemon = new Daemon(simulator, 77, {
    'bus.pub': places.pub, 'bus.rep': places.rep, 'security.keys': directory, 'security.clients': directory,
  });
  await daemon.start();
});
after(async () => {
  await daemon?.end();
  await simulator?.process?.end();
});

const secret = (/** @type {string} */ name) => join(directory, `${name}.key_secret`);

test('a client with a key is admitted, and is the client of that key', LIMIT, async (t) => {
  const ib = await connect('alpha', { ...places, keys: loadKeys(secret('alpha')) });
  t.after(() => ib.close());
  const commands = new Commands(places.rep, undefined, { keys: loadKeys(secret('alpha')) });
  t.after(() => commands.close());
  const { result } = await commands.call('ping');
  assert.deepEqual([result.client, result.role], ['alpha', 'trader']);
});

const WRONG = {
  'no key': () => undefined,
  'the key of nobody': () => loadKeys(secret('stranger')),
  'another server key': () => loadKeys(secret('alpha'), loadKeys(secret('stranger'))?.publicKey),
};

for (const [name, keys] of Object.entries(WRONG)) {
  test(`${name}: the commands and the feed throw soon`, LIMIT, async (t) => {
    const commands = new Commands(places.rep, 'alpha', { keys: keys() });
    t.after(() => commands.close());
    await assert.rejects(commands.call('ping', {}, { patience: 20_000 }), (error) => error instanceof AuthError
      && error.outcome === 'not_sent');
    await assert.rejects(commands.call('ping', {}, { patience: 20_000 }), AuthError, 'and again');
    const feed = new Feed({ ...places, prefixes: ['md.'], keys: keys() });
    t.after(() => feed.close());
    await assert.rejects(feed[Symbol.asyncIterator]().next(), AuthError);
    await assert.rejects(connect('alpha', { ...places, keys: keys(), timeout: 20_000 }), AuthError);
  });
}

test('a secret that others can read is refused', () => {
  chmodSync(secret('stranger'), 0o644);
  assert.throws(() => loadKeys(secret('stranger')), /chmod 600/);
  chmodSync(secret('stranger'), 0o600);
  assert.throws(() => loadKeys(join(directory, 'nobody')), AuthError);
  assert.equal(loadKeys(''), undefined);
});

test('the nearest endpoint is ipc if it is there, and tcp with keys', () => {
  const before_ = process.env.RUNTIME_DIRECTORY;
  process.env.RUNTIME_DIRECTORY = directory;
  assert.equal(nearest('pub', loadKeys(secret('alpha'))), 'tcp://127.0.0.1:5555');
  if (before_ === undefined) delete process.env.RUNTIME_DIRECTORY;
  else process.env.RUNTIME_DIRECTORY = before_;
});
