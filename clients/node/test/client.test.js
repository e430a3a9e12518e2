/** Tests of the client against a real daemon and a simulated TWS, through real sockets. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { Commands, Feed, Refused, Unanswered } from '../client.js';
import { Daemon, Process, Simulator, temporary } from './daemon.js';
import { lossyWay } from './ways.js';

/** @typedef {import('../messages.js').Event} Event */
/** @typedef {import('../messages.js').Body} Body */

const CLIENT = fileURLToPath(new URL('..', import.meta.url));
const LIMIT = { timeout: 20_000 };
const SYMBOLS = ['AAPL', 'MSFT', 'IBM', 'NVDA', 'AMZN', 'TSLA'];

/** @type {Simulator} */
let simulator;
let clientId = 0;

before(async () => { simulator = await Simulator.start(); });
after(() => simulator?.process?.end());

/**
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string | number>} settings
 */
async function daemonFor(t, settings = {}) {
  const daemon = new Daemon(simulator, (clientId += 1), settings);
  t.after(() => daemon.end());
  return daemon.start();
}

/**
 * @param {import('node:test').TestContext} t
 * @param {{rep: string}} daemon
 * @param {string | undefined} client
 * @param {{timeout?: number}} options
 */
function commandsFor(t, { rep }, client, options = {}) {
  const commands = new Commands(rep, client, options);
  t.after(() => commands.close());
  return commands;
}

/**
 * @param {import('node:test').TestContext} t
 * @param {{pub: string, rep: string}} daemon
 * @param {string[]} prefixes
 * @param {object} options
 */
function feedFor(t, { pub, rep }, prefixes, options = {}) {
  const feed = new Feed({ pub, rep, prefixes, ...options });
  t.after(() => feed.close());
  return feed;
}

/**
 * Returns the events up to and including the first that is wanted.
 * @param {Feed} feed
 * @param {(event: Event, heard: Event[]) => boolean} wanted
 */
async function until(feed, wanted) {
  const heard = [];
  for await (const event of feed) {
    heard.push(event);
    if (wanted(event, heard)) return heard;
  }
  throw new Error('the feed has ended');
}

/**
 * @param {Feed} feed
 * @param {number} prefixes
 */
const ready = (feed, prefixes = 1) => until(feed, ({ event }) => event === 'ready' && (prefixes -= 1) === 0);

/** @param {string} symbol */
const stock = (symbol) => ({ symbol, secType: 'STK', exchange: 'SMART', currency: 'USD' });

/** @param {number} lmtPrice */
const buy = (lmtPrice) => ({ action: 'BUY', totalQuantity: 100, orderType: 'LMT', lmtPrice });

/** @param {string} topic */
const streamOf = (topic) => topic.split('.', 2).join('.') + '.';

/**
 * Returns the messages of one stream that have a sequence number, without the flag `replayed`.
 * @param {Event[]} heard
 * @param {string} stream
 * @returns {[string, Body][]}
 */
function messagesOf(heard, stream) {
  return heard.flatMap((event) => (event.event !== 'message' || event.body.seq === undefined || streamOf(event.topic) !== stream ? []
    : [[event.topic, plain(event.body)]]));
}

/**
 * @param {Body} body
 * @returns {Body}
 */
function plain({ flags, ...body }) {
  const rest = (flags ?? []).filter((flag) => flag !== 'replayed');
  return rest.length ? { ...body, flags: rest } : body;
}

/**
 * Returns the messages of a stream that the daemon has published, by its own record.
 * @param {Commands} commands
 * @param {string} stream
 * @param {number} from
 * @param {number | undefined} to
 */
async function published(commands, stream, from, to = undefined) {
  /** @type {[string, Body][]} */
  const all = [];
  for (let next = from; next !== null;) {
    const { result } = await commands.call('replay', to === undefined ? { stream, from: next } : { stream, from: next, to });
    for (const [topic, body] of result.messages) all.push([topic.toString(), /** @type {Body} */ (decode(body))]);
    next = result.next;
  }
  return all;
}

/**
 * @param {Commands} commands
 * @param {string} stream
 * @returns {Promise<number>}
 */
async function lastOf(commands, stream) {
  return (await commands.call('snapshot', { prefix: stream })).result.streams[0].seq;
}

/** @param {[string, Body][]} messages */
const numbers = (messages) => messages.map(([, { seq }]) => /** @type {number} */ (seq));

/**
 * @param {number} from
 * @param {number} to
 */
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

test('a late subscriber gets the state and then every tick', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const commands = commandsFor(t, daemon, 'ticks');
  const early = feedFor(t, daemon, ['md.']);
  for (const symbol of SYMBOLS) await commands.call('reqMktData', { contract: stock(symbol) });
  let ticks = 0;
  await until(early, ({ event }) => event === 'message' && (ticks += 1) > 100);

  const late = feedFor(t, daemon, ['md.']);
  const state = [...await until(late, () => true), ...await ready(late)]; // leaving the loop loses nothing
  const live = await until(late, (_, heard) => heard.length > 100);
  const given = state.filter((event) => event.event === 'message' && event.body.flags?.includes('replayed'));
  for (const symbol of SYMBOLS) {
    const stream = `md.${symbol}-STK-SMART-USD.`;
    const begun = Math.max(...numbers(messagesOf(given, stream)));
    const messages = messagesOf([...state, ...live], stream).filter(([, { seq = 0 }]) => seq > begun);
    assert.deepEqual(messages, await published(commands, stream, begun + 1, begun + messages.length));
    const topics = new Set(messagesOf(given, stream).map(([topic]) => topic));
    assert.ok(topics.has(`${stream}tickPrice.`) && topics.has(`${stream}tickSize.`), `${[...topics]}`);
  }
});

/**
 * Returns a subscriber that reads nothing while the daemon publishes more than the queues hold.
 * @param {import('node:test').TestContext} t
 * @param {Record<string, string | number>} settings
 */
async function slowSubscriber(t, settings) {
  const daemon = await daemonFor(t, settings);
  const commands = commandsFor(t, daemon, 'burst');
  const feed = feedFor(t, daemon, ['req.burst.'], { receiveHighWaterMark: 5 });
  await ready(feed);
  const options = { contract: { symbol: 'SPX', secType: 'OPT', exchange: 'CBOE', currency: 'USD' } };
  for (let n = 0; n < 12; n += 1) await commands.call('reqContractDetails', options);
  while ((await commands.call('status')).result.requests > 0);
  const last = await lastOf(commands, 'req.burst.');
  while (feed.waiting < 1000) await commands.call('ping');
  for (let n = 0; n < 100; n += 1) await commands.call('ping');
  assert.ok(feed.waiting < 2000, `${feed.waiting} of ${last} messages are held for whom does not take them`);
  const heard = await until(feed, (event) =>
    (event.event === 'message' && event.body.seq === last) || (event.event === 'lost' && event.to === last));
  return { commands, heard, last };
}

test('what fits into the queues waits there for whoever takes nothing', LIMIT, async (t) => {
  const { commands, heard, last } = await slowSubscriber(t, {});
  assert.deepEqual(heard.filter(({ event }) => event === 'lost'), []);
  assert.deepEqual(messagesOf(heard, 'req.burst.'), await published(commands, 'req.burst.', 1, last));
});

test('what did not fit into the queues comes by replay', LIMIT, async (t) => {
  const { commands, heard, last } = await slowSubscriber(t, { 'bus.sndhwm': 5 });
  assert.ok(heard.some((event) => event.event === 'message' && event.body.flags?.includes('replayed')), 'nothing was lost on the way');
  assert.deepEqual(heard.filter(({ event }) => event === 'lost'), []);
  assert.deepEqual(messagesOf(heard, 'req.burst.'), await published(commands, 'req.burst.', 1, last));
});

test('what the daemon has no more is told by number', LIMIT, async (t) => {
  const { heard, last } = await slowSubscriber(t, { 'bus.sndhwm': 5, 'ring.messages': 1000 });
  const lost = heard.flatMap((event) => (event.event === 'lost' ? range(event.from, event.to) : []));
  assert.ok(lost.length > 0);
  const state = new Set(numbers(messagesOf(heard, 'req.burst.')));
  assert.deepEqual([...new Set([...state, ...lost])].sort((a, b) => a - b), range(1, last));
});

test('killed and started again: nothing durable is missed, the rest begins anew', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const commands = commandsFor(t, daemon, 'kill');
  const feed = feedFor(t, daemon, ['ord.', 'exec.', 'sys.', 'acct.', 'md.']);
  const state = await ready(feed, 5);
  await commands.call('reqMktData', { contract: stock('AAPL') });
  for (let n = 0; n < 10; n += 1) {
    await commands.call('placeOrder', { contract: stock(SYMBOLS[n % 6]), order: buy(9999) }, { key: `before-${n}` });
  }
  const before = await until(feed, ({ event }, heard) => event === 'message' && messagesOf(heard, 'exec.kill.').length > 2);
  await daemon.kill();
  await daemon.start();
  for (let n = 0; n < 10; n += 1) {
    await commands.call('placeOrder', { contract: stock(SYMBOLS[n % 6]), order: buy(9999) }, { key: `after-${n}` });
  }
  const filled = async () => new Set((await published(commands, 'exec.kill.', 1)).map(([, { ref }]) => ref?.key)
    .filter((key) => key?.startsWith('after'))).size;
  while ((await filled()) < 10);
  const streams = ['ord.kill.', 'exec.kill.', 'sys.tws.'];
  const ends = await Promise.all(streams.map((stream) => lastOf(commands, stream)));
  const later = await until(feed, (_, heard) =>
    streams.every((stream, n) => Math.max(...numbers(messagesOf(heard, stream))) >= ends[n]));
  const heard = [...state, ...before, ...later];

  assert.equal(heard.filter(({ event }) => event === 'epoch').length, 1);
  assert.deepEqual(heard.filter(({ event }) => ['store', 'renewed'].includes(event)), []);
  assert.deepEqual(heard.filter((event) => event.event === 'lost' && !event.stream.startsWith('md.')), []);
  for (const stream of streams) {
    const messages = messagesOf([...before, ...later], stream);
    const all = await published(commands, stream, 1, numbers(messages).at(-1));
    // Of sys.tws. the first epoch's messages were there before the subscriber.
    const missed = all.slice(0, -messages.length);
    assert.deepEqual(messages, all.slice(missed.length), stream);
    assert.ok(stream === 'sys.tws.' ? missed.every(([, { epoch }]) => epoch < feed.epoch) : !missed.length, stream);
    assert.equal(messages.at(-1)?.[1].epoch, feed.epoch, stream);
  }
});

test('a daemon that stops answering is down, and then up again', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const feed = feedFor(t, daemon, ['sys.']);
  await until(feed, (event) => event.event === 'message' && event.body.type === 'heartbeat');
  daemon.signal('SIGSTOP');
  await until(feed, ({ event }) => event === 'down');
  daemon.signal('SIGCONT');
  await until(feed, ({ event }) => event === 'up');
});

test('several commands at once are answered in turn, a refused one with all its faults', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const commands = commandsFor(t, daemon, 'many');
  const replies = await Promise.all([1, 2, 3].map(() => commands.call('ping')));
  assert.deepEqual(replies.map(({ result }) => result.pong), [true, true, true]);
  await assert.rejects(commands.call('placeOrder', { contract: stock('AAPL'), order: { ...buy(1), lmtPrice: '12x', oops: 1 } }, { key: 'k' }),
    (error) => error instanceof Refused && error.code === 'E_ARG' && error.outcome === 'refused' && /lmtPrice.*oops/s.test(error.message));
});

test('an order whose reply was lost is sent again, and placed once', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  /** @type {any[]} */
  const sent = [];
  const way = await lossyWay(t, daemon, async (command) => {
    if (command.cmd !== 'placeOrder') return 'kept';
    return /** @type {const} */ (['lost', 'emptied'])[sent.push(command) - 1] ?? 'kept';
  });
  const commands = commandsFor(t, way, 'retry', { timeout: 300 });
  const feed = feedFor(t, daemon, ['ord.retry.', 'exec.retry.']);
  await ready(feed, 2);
  const reply = await commands.call('placeOrder', { contract: stock('AAPL'), order: buy(9999) }, { key: 'once', id: 'id-1' });
  assert.equal(reply.dup, true);
  assert.ok(sent.length > 2);
  for (const command of sent) assert.deepEqual(command, sent[0]);
  const patience = sent[0].not_after / 1000 - Date.now();
  assert.ok(patience > 0 && patience <= 10_000, `an order that is good for ${patience} ms`);

  const again = await commands.call('placeOrder', { contract: stock('AAPL'), order: buy(9999) }, { key: 'once' });
  assert.deepEqual([again.dup, again.result], [true, reply.result]);
  await assert.rejects(commands.call('placeOrder', { contract: stock('IBM'), order: buy(9999) }, { key: 'once' }),
    (error) => error instanceof Refused && error.code === 'E_KEY_REUSED');
  await assert.rejects(commands.call('reqContractDetails', { contract: stock('AAPL') }, { id: 'id-1' }), (error) => error instanceof Refused && error.code === 'E_ID_REUSED');

  const heard = await until(feed, (event) => event.event === 'message' && event.body.type === 'commissionAndFeesReport');
  assert.equal(messagesOf(heard, 'exec.retry.').filter(([, { type }]) => type === 'execDetails').length, 1);
  assert.equal((await commands.call('status')).result.orders, 1);
});

test('an order whose reply was lost with the daemon is the first order at the next one', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  let placed = 0;
  const way = await lossyWay(t, daemon, async ({ cmd }) => {
    placed += Number(cmd === 'placeOrder');
    if (cmd !== 'placeOrder' || placed > 1) return 'kept';
    await daemon.kill();
    await daemon.start();
    return 'lost';
  });
  const commands = commandsFor(t, way, 'died', { timeout: 300 });
  const reply = await commands.call('placeOrder', { contract: stock('AAPL'), order: buy(1) }, { key: 'once' });
  assert.ok(placed > 1, 'it was sent again');
  assert.equal(reply.dup, true);
  assert.equal((await commands.call('status')).result.orders, 1);
});

test('a deadline that passes after a lost reply says nothing of the first try', LIMIT, async (t) => {
  const rep = `ipc://${temporary()}/rep`;
  const daemon = new zmq.Router({ linger: 0 });
  t.after(() => daemon.close());
  await daemon.bind(rep);
  const commands = commandsFor(t, { rep }, 'late', { timeout: 50 });
  const called = commands.call('modifyOrder', { rev: 1, order: {} }, { key: 'k' });
  await daemon.receive(); // no reply to the first try
  const [peer, request, empty] = await daemon.receive();
  const error = { code: 'E_DEADLINE', message: 'too late', outcome: 'not_sent' };
  await daemon.send([peer, request, empty, encode({ id: 1, ok: false, error, epoch: 2, gen: 1 })]);
  await assert.rejects(called, (error) => error instanceof Unanswered && error.outcome === 'unknown' && error.key === 'k');
});

test('a prefix whose welcome does not come is subscribed to again', LIMIT, async (t) => {
  const directory = temporary();
  const publisher = new zmq.XPublisher({ verbosity: 'allSubs', linger: 0 });
  t.after(() => publisher.close());
  const pub = `ipc://${directory}/pub`;
  await publisher.bind(pub);
  feedFor(t, { pub, rep: `ipc://${directory}/rep` }, ['md.']);
  const heartbeat = 'sys.bridge.heartbeat.';
  const subscriptions = async () => new Set([`${await publisher.receive()}`, `${await publisher.receive()}`]);
  assert.deepEqual(await subscriptions(), new Set(['\x01md.', `\x01${heartbeat}`]));
  const store = { name: 'S', fault: null };
  for (let beat = 1; beat <= 2; beat += 1) {
    await publisher.send([heartbeat, encode({ type: 'heartbeat', epoch: 1, gen: 1, ts: 0, data: { beat, seqs: {}, store } })]);
  }
  assert.equal(`${await publisher.receive()}`, '\x01md.');
});

test('nobody there: no answer, in time', LIMIT, async (t) => {
  const commands = commandsFor(t, { rep: 'ipc:///tmp/ibbridge-nobody' }, 'nobody', { timeout: 20 });
  await assert.rejects(commands.call('ping', {}, { patience: 100 }),
    (error) => error instanceof Unanswered && error.outcome === 'not_sent' && /nothing was sent/.test(error.message));
});

/**
 * @param {import('node:test').TestContext} t
 * @param {Daemon} daemon
 * @param {string} script
 * @param {string[]} args
 */
function program(t, daemon, script, args) {
  const path = fileURLToPath(new URL(`../${script}`, import.meta.url));
  const running = new Process(process.execPath, [path, '--pub', daemon.pub, '--rep', daemon.rep, ...args]);
  t.after(() => running.end('SIGKILL'));
  return running;
}

test('order.js: filled; known when run again; another one cancelled by Ctrl-C', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const first = program(t, daemon, 'order.js', ['--key', 'fill', 'BUY', '100', 'AAPL', '9999']);
  await first.said(/^placed +fill: BUY 100 AAPL LMT 9999/);
  await first.said(/^fill +fill: BOT 100 at \d/);
  await first.said(/^order +fill: filled, 100 filled, 0 to go/);
  assert.equal(await first.ended, 0);

  const second = program(t, daemon, 'order.js', ['--key', 'fill', 'BUY', '100', 'AAPL', '9999']);
  await second.said(/^known +fill/);
  await second.said(/^fill +fill: BOT 100 at \d/);
  assert.equal(await second.ended, 0);

  const other = program(t, daemon, 'order.js', ['--key', 'fill', 'BUY', '200', 'AAPL', '9999']);
  await other.said(/E_KEY_REUSED.*'fill'/);
  assert.equal(await other.ended, 1);

  const open = program(t, daemon, 'order.js', ['--key', 'wait', 'BUY', '100', 'AAPL', '1']);
  await open.said(/^order +wait: working/);
  open.child.kill('SIGINT');
  await open.said(/^cancel +wait/);
  await open.said(/^order +wait: cancelled, 0 filled/);
  assert.equal(await open.ended, 1);
});

test('order.js does not place an order again after a restart of the daemon', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const args = ['--key', 'again', 'BUY', '100', 'AAPL', '9999'];
  assert.equal(await program(t, daemon, 'order.js', args).ended, 0);
  await daemon.kill();
  await daemon.start();
  const again = program(t, daemon, 'order.js', args);
  await again.said(/^known +again/);
  await again.said(/^fill +again: BOT 100 at \d/);
  assert.equal(await again.ended, 0);
  assert.equal((await commandsFor(t, daemon, 'node').call('status')).result.orders, 1);
  assert.equal(again.lines.filter((line) => /^fill /.test(line)).length, 1);
});

test('subscribe.js prints what it hears, as JSON, from behind a configured prefix', LIMIT, async (t) => {
  const daemon = await daemonFor(t, { 'bus.prefix': 'eu' });
  const subscriber = program(t, daemon, 'subscribe.js', ['--root', 'eu.', 'eu.sys.', 'eu.md.']);
  await subscriber.said(/"eu\.sys\.tws\.connection\."/);
  await subscriber.said(/"ready","prefix":"eu\.md\."/);
  await subscriber.said(/"eu\.sys\.bridge\.heartbeat\."/);
  for (const each of subscriber.lines) assert.equal(typeof JSON.parse(each), 'object');
  subscriber.child.kill('SIGINT');
  assert.equal(await subscriber.ended, 0);
});

/**
 * Returns the programs that the README shows, with the endpoints of a daemon.
 * @param {Daemon} daemon
 */
function shown(daemon) {
  const page = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  return [...page.matchAll(/```js\n([^]*?)```/g)].map(([, code]) =>
    code.replace('tcp://127.0.0.1:5555', daemon.pub).replace('tcp://127.0.0.1:5556', daemon.rep));
}

test('what the README shows can be run again', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const [code] = shown(daemon);
  for (const symbol of ['AAPL', 'MSFT', 'AAPL']) {
    const subscriber = new Process(process.execPath, ['--input-type=module', '-e', code.replace('AAPL', symbol)], CLIENT);
    await subscriber.said(new RegExp(`^md\\.${symbol}-STK-SMART-USD\\.tickPrice\\.`));
    await subscriber.end();
  }
});

test('the order that the README shows is placed, changed and cancelled', LIMIT, async (t) => {
  const [, code] = shown(await daemonFor(t));
  const orders = new Process(process.execPath, ['--input-type=module', '-e', code], CLIENT);
  t.after(() => orders.end('SIGKILL'));
  assert.equal(await orders.ended, 0, orders.lines.join('\n'));
  assert.equal(orders.lines.at(-1), 'done cancelled');
});

test('a feed follows all topics that a reply names', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const commands = commandsFor(t, daemon, 'me');
  const feed = feedFor(t, daemon, ['req.me.']);
  await ready(feed);
  const contract = { symbol: 'AAPL', secType: 'STK', exchange: 'SMART', currency: 'USD' };
  const { result } = await commands.call('reqHistoricalData', {
    contract, durationStr: '3600 S', barSizeSetting: '1 min', whatToShow: 'TRADES', keepUpToDate: true,
  });
  assert.equal(result.topics.length, 2);
  feed.follow(...result.topics);
  const heard = await until(feed, (each) => each.event === 'message' && each.body.type === 'historicalDataUpdate');
  assert.ok(heard.some((each) => each.event === 'message' && each.body.type === 'historicalData'), 'the past, too');
});
