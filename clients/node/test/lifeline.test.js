/** Tests of the lifeline: the words that a program says, and what the daemon does when it is killed, closes, or says none. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { Commands, connect, Lifeline, Refused, Unanswered } from '../client.js';
import { Daemon, Process, Simulator, temporary } from './daemon.js';

/** @typedef {import('node:test').TestContext} TestContext */

const LIMIT = { timeout: 60_000 };
const AAPL = { symbol: 'AAPL', secType: 'STK', exchange: 'SMART', currency: 'USD' };

// --- words, to a daemon made of one socket ------------------------------------------------------------------------------

class Listener {
  /** @type {{cmd: string, args: any, client: string}[]} */
  words = [];
  epoch = 7;
  /** @type {(word: any) => any} */
  answer = () => ({ ok: true, result: { ttl: 0.15 } });
  rep = `ipc://${temporary()}/rep`;
  #socket = new zmq.Reply({ linger: 0 });
  #changed = () => {};

  /** @param {TestContext} t */
  static async start(t) {
    const listener = new Listener();
    await listener.#socket.bind(listener.rep);
    t.after(() => listener.#socket.close());
    listener.#serve().catch((error) => { if (!listener.#socket.closed) throw error; });
    return listener;
  }

  async #serve() {
    for await (const [frame] of this.#socket) {
      const word = /** @type {any} */ (decode(frame));
      this.words.push(word);
      this.#changed();
      await this.#socket.send(encode({ id: word.id, epoch: this.epoch, gen: 1, ...this.answer(word) }));
    }
  }

  /**
   * Waits until a word has come so many times.
   * @param {string} cmd
   * @param {number} times
   */
  async heard(cmd, times = 1) {
    const found = () => this.words.filter((word) => word.cmd === cmd);
    while (found().length < times) await new Promise((resolve) => { this.#changed = () => resolve(undefined); });
    return found();
  }
}

test('it says hello, then that the program is there, and logs out once', LIMIT, async (t) => {
  const daemon = await Listener.start(t);
  const lifeline = new Lifeline(daemon.rep, 'me', { ttl: 150, window: 2000, cancelOnDisconnect: 'loss' });
  await lifeline.begin();
  await daemon.heard('alive', 3); // the program does nothing meanwhile
  await Promise.all([lifeline.end(), lifeline.end()]);
  const [{ args: { run, ...said } }] = daemon.words;
  assert.deepEqual(said, { ttl: 0.15, window: 2, cancel_on_disconnect: 'loss' });
  assert.match(run, /^[0-9a-f-]{36}$/);
  assert.deepEqual(new Set(daemon.words.map(({ client }) => client)), new Set(['me']));
  assert.equal(daemon.words.at(-1)?.cmd, 'logout');
  assert.equal((await daemon.heard('logout')).length, 1);
});

test('another daemon hears the same hello', LIMIT, async (t) => {
  const daemon = await Listener.start(t);
  const lifeline = new Lifeline(daemon.rep, 'me', {});
  t.after(() => lifeline.end());
  await lifeline.begin();
  await daemon.heard('alive');
  daemon.epoch += 1;
  const [first, second] = await daemon.heard('hello', 2);
  assert.deepEqual(first.args, second.args);
});

test('what the daemon refuses is thrown, if the program has asked for it', LIMIT, async (t) => {
  const daemon = await Listener.start(t);
  daemon.answer = () => ({ ok: false, error: { code: 'E_ARG', message: 'ttl must be more', outcome: 'refused' } });
  const demanding = new Lifeline(daemon.rep, 'me', { ttl: 1 });
  await assert.rejects(demanding.begin(), Refused);
  await demanding.end();
  const modest = new Lifeline(daemon.rep, 'me', {}); // an older daemon
  await modest.begin();
  await modest.end({ logout: false });
  assert.deepEqual(daemon.words.map(({ cmd }) => cmd), ['hello', 'logout', 'hello']);
});

test('without a daemon it says so, and ends', LIMIT, async () => {
  const lifeline = new Lifeline(`ipc://${temporary()}/rep`, 'me', {});
  await assert.rejects(lifeline.begin(100), Unanswered);
  await lifeline.end();
});

// --- what the daemon does ---------------------------------------------------------------------------------------------

/** @type {Simulator} */
let simulator;
let clientId = 40;

before(async () => { simulator = await Simulator.start(); });
after(() => simulator?.process?.end());

/**
 * Starts a daemon, and a client that declares nothing and subscribes to nothing.
 * @param {TestContext} t
 */
async function daemonFor(t) {
  const daemon = new Daemon(simulator, (clientId += 1), { 'streams.grace': 0.5 });
  t.after(() => daemon.end());
  await daemon.start();
  const commands = new Commands(daemon.rep, 'plain');
  t.after(() => commands.close());
  return { daemon, commands };
}

/** Lets a moment pass between two looks. */
const pause = () => new Promise((resolve) => { setTimeout(resolve, 50); });

/** Returns the number of subscriptions in the books of TWS. */
const subscriptionsAtTws = () => simulator.figures().subscriptions[clientId];

/**
 * Waits until these are the leases, as `client SYMBOL`, and so many lines are in use.
 * @param {Commands} commands
 * @param {string[]} leases
 * @param {number} lines
 */
async function settled(commands, leases, lines) {
  for (;;) {
    const { result } = await commands.call('leases');
    const found = result.leases.map((/** @type {any} */ each) =>
      [each.client, each.topic.split(/[.-]/)[1], ...['unbounded', 'keep'].filter((name) => each[name])].join(' '));
    if (result.lines.level1.used === lines && JSON.stringify(found.sort()) === JSON.stringify(leases)) return;
    await pause();
  }
}

for (const [how, signal, code] of /** @type {const} */ ([['loss', 'SIGKILL', 'SIGKILL'], ['logout', 'SIGTERM', 0]])) {
  test(`of a program that ends by ${how} the daemon cancels what it is to cancel, and ends the subscriptions`, LIMIT, async (t) => {
    const { daemon, commands } = await daemonFor(t);
    const name = `s${clientId}`;
    await commands.call('reqMktData', { contract: { ...AAPL, symbol: 'IBM' } });
    const strategy = new Process(process.execPath, [fileURLToPath(new URL('strategy.js', import.meta.url)),
      daemon.pub, daemon.rep, name, how]);
    t.after(() => strategy.end('SIGKILL'));
    await strategy.said(/^placed$/);
    await settled(commands, ['plain IBM unbounded', `${name} AAPL`, `${name} MSFT keep`], 3);
    const before_ = subscriptionsAtTws();
    assert.equal(await strategy.end(signal), code);
    await settled(commands, ['plain IBM unbounded', `${name} MSFT keep`], 2);
    while (subscriptionsAtTws() !== before_ - 1) await pause();
    const ib = await connect(name, daemon);
    t.after(() => ib.close());
    const flagged = await ib.placeOrder(AAPL, { action: 'BUY', orderType: 'LMT', totalQuantity: 1, lmtPrice: 1 }, { key: 'flagged' });
    const state = await flagged.wait({ until: 'cancelled', timeout: 20_000 });
    assert.deepEqual([state.reason, state.cause], ['cancelled', 'dead_man']);
    const working = [];
    for await (const order of ib.orders({ state: 'working' })) working.push(order.key);
    assert.deepEqual(working, ['stays']);
  });
}

test('a line that there is not is refused with those who have the lines, or waited for', LIMIT, async (t) => {
  const daemon = new Daemon(simulator, (clientId += 1), { 'streams.lines_per_client': 1, 'streams.grace': 0.1 });
  t.after(() => daemon.end());
  await daemon.start();
  const ib = await connect('me', daemon);
  t.after(() => ib.close());
  await ib.call('reqMktData', { contract: AAPL }, { id: 'first', marketDataType: 3 });
  const other = { contract: { ...AAPL, symbol: 'IBM' } };
  await assert.rejects(ib.call('reqMktData', other), (/** @type {any} */ { code, outcome, fault }) => {
    assert.deepEqual([code, outcome, fault.kind, fault.most, fault.holders], ['E_LINES', 'not_sent', 'level1', 1, { me: 1 }]);
    return true;
  });
  const { result } = await ib.call('reqMktData', other, { wait: true });
  assert.equal(result.held_by, 'lines');
});

test('a refusal by a limit or a halt says which', LIMIT, async (t) => {
  const daemon = new Daemon(simulator, (clientId += 1), { 'risk.all': '{max_order_quantity: 10}' });
  t.after(() => daemon.end());
  await daemon.start();
  const ib = await connect('me', daemon);
  t.after(() => ib.close());
  await ib.call('halt', { scope: 'client', name: 'me' });
  const order = { action: 'BUY', orderType: 'LMT', totalQuantity: 1, lmtPrice: 1 };
  await assert.rejects(ib.placeOrder(AAPL, order), (/** @type {any} */ { code, fault }) => {
    assert.deepEqual([code, fault.scope, fault.name, fault.state], ['E_HALTED', 'client', 'me', 'halted']);
    return true;
  });
  await ib.call('resume', { scope: 'client', name: 'me' });
  await assert.rejects(ib.placeOrder(AAPL, { ...order, totalQuantity: 11 }), (/** @type {any} */ { code, fault }) => {
    assert.equal(code, 'E_RISK');
    assert.deepEqual([fault.rule, fault.limit, fault.value, fault.scope], ['max_order_quantity', 10, 11, 'all']);
    assert.equal(typeof fault.decision, 'string');
    return true;
  });
});
