/** Tests of orders and their handles against a real daemon and a simulated TWS, through real sockets. */

import assert from 'node:assert/strict';
import { on } from 'node:events';
import { after, before, test } from 'node:test';

import { bracket, Closed, connect, Feed, limit, market, Refused, stop, TwsError, Unanswered } from '../client.js';
import { Daemon, Simulator } from './daemon.js';
import { lossyFeed, lossyWay } from './ways.js';

/**
 * @typedef {import('node:test').TestContext} TestContext
 * @typedef {import('../client.js').PlacedOrder} PlacedOrder
 */

const LIMIT = { timeout: 30_000 };
const AT_ONCE = 30; // milliseconds after which what must not come has not come
const AAPL = { symbol: 'AAPL', secType: 'STK', exchange: 'SMART', currency: 'USD' };
const LOW = limit('BUY', 1, 1); // rests

/** @type {Simulator} */
let simulator;
let clientId = 0;

before(async () => { simulator = await Simulator.start(); });
after(() => simulator?.process?.end());

/**
 * @param {TestContext} t
 * @param {Record<string, string | number>} settings
 */
async function daemonFor(t, settings = {}) {
  const daemon = new Daemon(simulator, (clientId += 1), settings);
  t.after(() => daemon.end());
  return daemon.start();
}

/**
 * Connects under a name that each daemon has to itself: TWS lists the completed orders of all daemons of these tests by
 * client and key alone.
 * @param {TestContext} t
 * @param {{pub: string, rep: string}} daemon
 * @param {string} name
 * @param {object} options
 */
async function connected(t, { pub, rep }, name = `me${clientId}`, options = {}) {
  const ib = await connect(name, { pub, rep, ...options });
  t.after(() => ib.close());
  return ib;
}

/** @param {string} code */
const refused = (code, outcome = 'refused') => (/** @type {any} */ error) =>
  error instanceof Refused && error.code === code && error.outcome === outcome;

/** @param {AsyncIterable<PlacedOrder>} orders */
async function byKey(orders) {
  /** @type {Map<string, PlacedOrder>} */
  const found = new Map();
  for await (const order of orders) found.set(order.key, order);
  return found;
}

// --- the life of an order ---------------------------------------------------------------------------------------------

test('an order is placed, works, is changed and cancelled, and its handle shows each state', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const order = await ib.placeOrder(AAPL, LOW, { key: 'k' });
  const seen = (async () => {
    const names = [];
    for await (const { state, rev } of order) names.push(`${state} ${rev}`);
    return names;
  })();
  assert.deepEqual([order.cmd, order.key, order.dup, order.result.topic], ['placeOrder', 'k', false, `ord.me${clientId}.k.`]);
  assert.equal((await order.wait({ until: 'working' })).state, 'working');
  assert.equal(order.state.orderId, order.result.orderId);

  const changed = await order.modify({ lmtPrice: 1.1 });
  assert.deepEqual([changed.cmd, changed.result.rev], ['modifyOrder', 1]);
  assert.deepEqual([(await order.wait()).rev, order.state.state], [1, 'working']);
  assert.equal(changed.state, order.state, 'all handles of an order share its state');
  await order.modify({ ...LOW, lmtPrice: 1.2 }, { rev: 7 });
  assert.equal((await order.wait({ until: ({ state, rev }) => state === 'working' && rev === 7 })).rev, 7);
  const [listed] = [...(await byKey(ib.orders({ state: 'working' }))).values()];
  assert.equal(listed.result.order.lmtPrice, 1.2);

  await order.cancel();
  const state = await order.wait({ until: 'cancelled' });
  assert.deepEqual([state.state, state.reason, state.done, state.failed], ['done', 'cancelled', true, false]);
  const names = await seen;
  const steps = ['working 0', 'modifying 1', 'working 1', 'modifying 7', 'working 7', 'cancelling 7', 'done 7'];
  assert.deepEqual(steps.filter((step) => !names.includes(step)), [], `all of ${names}`);
  assert.equal(names.at(-1), 'done 7');
  assert.deepEqual(await byKey(ib.orders({ state: 'working' })), new Map());
});

test('an order is filled', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const order = await ib.placeOrder(AAPL, market('BUY', 10));
  const { reason, filled, remaining, avgFillPrice } = await order.wait({ until: 'filled' });
  assert.deepEqual([reason, filled, remaining], ['filled', 10, 0]);
  assert.ok(Number(avgFillPrice) > 0);
  assert.equal((await order.wait({ until: 'working', timeout: 0 })).reason, 'filled', 'the end ends every wait');
  const again = [];
  for await (const { reason } of order.states()) again.push(reason);
  assert.deepEqual(again, ['filled']);
});

test('a bracket is placed at once, listed, and cancelled with one command', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const ib = await connected(t, daemon);
  const members = bracket('b', AAPL, LOW, { profit: 900, loss: 0.5 });
  const orders = await ib.placeOrders(members);
  for (const order of orders) assert.equal((await order.wait({ until: 'working' })).state, 'working');
  assert.deepEqual(orders.map(({ key }) => key), ['b', 'b-profit', 'b-loss']);
  const again = await ib.placeOrders(members, { onPartial: 'cancel' });
  assert.deepEqual(again.map(({ dup, result }) => [dup, result.orderId]), orders.map(({ result, state }) => [true, result.orderId ?? state.orderId]));
  assert.deepEqual([...(await byKey(ib.orders())).keys()].sort(), ['b', 'b-loss', 'b-profit']);
  await ib.reconcile();
  const cancelled = await ib.cancelOrders();
  assert.deepEqual(cancelled.map(({ key, ok }) => [key, ok]).sort(), [['b', true], ['b-loss', true], ['b-profit', true]]);
  for (const order of orders) assert.equal((await order.wait({ until: 'done' })).reason, 'cancelled');
});

test('of a group that TWS refuses in part the rest is cancelled, or kept', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const bad = { contract: AAPL, order: limit('BUY', 1, 1.001) }; // the price is no multiple of the tick
  const [good] = await ib.placeOrders([{ contract: AAPL, order: LOW }, bad]);
  assert.deepEqual([(await good.wait({ until: 'done' })).reason, good.state.cause], ['cancelled', 'group']);
  const [kept, failed] = await ib.placeOrders([{ contract: AAPL, order: LOW }, bad], { onPartial: 'keep' });
  assert.equal((await failed.wait({ until: 'done' })).reason, 'rejected');
  assert.equal((await kept.wait({ until: 'working' })).state, 'working');
});

test('a child is placed after its parent, by handle or key, and ends with it', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const parent = await ib.placeOrder(AAPL, { ...LOW, transmit: false });
  assert.equal((await parent.wait()).state, 'held');
  const child = await ib.placeOrder(AAPL, limit('SELL', 1, 900), { parent });
  assert.equal((await child.wait({ until: 'working' })).state, 'working');
  await parent.cancel();
  assert.deepEqual([(await parent.wait({ until: 'done' })).reason, (await child.wait({ until: 'done' })).reason],
    ['cancelled', 'cancelled']);
});

test('margins are asked for without an order', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const { orderState } = await ib.whatIfOrder(AAPL, limit('BUY', 100, 150));
  assert.ok(Number(orderState.initMarginChange) > 0);
  await assert.rejects(ib.whatIfOrder({ ...AAPL, symbol: 'NOSUCH' }, LOW),
    (error) => error instanceof TwsError && error.code === 200 && /NOSUCH|security/.test(error.message));
  await assert.rejects(ib.whatIfOrder(AAPL, { action: 'BUY' }), refused('E_ARG'));
  assert.deepEqual(await byKey(ib.orders()), new Map());
});

test('the positions of a client are what its executions add up to, over a restart', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const [ib, other] = [await connected(t, daemon), await connected(t, daemon, 'nobody')];
  assert.deepEqual(await ib.positions(), []);
  const changes = on(ib, 'position');
  for (const [order, holding] of /** @type {const} */ ([[market('BUY', 10), 10], [market('SELL', 4), 6]])) {
    await ib.placeOrder(AAPL, order);
    while ((await changes.next()).value[0].position !== holding);
  }
  await daemon.kill();
  await daemon.start();
  for (const each of [ib, await connected(t, daemon)]) {
    const [held, ...more] = await each.positions();
    assert.deepEqual([held.contract.symbol, held.position, more], ['AAPL', 6, []]);
    assert.ok(held.avgPrice > 0);
  }
  assert.deepEqual(await other.positions(), []);
});

// --- refusals -----------------------------------------------------------------------------------------------------------

test('an order that TWS refuses says why', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const state = await (await ib.placeOrder(AAPL, limit('BUY', 1, 1.001))).wait({ until: 'working' });
  assert.deepEqual([state.reason, state.failed, state.lastError?.code, state.lastError?.own], ['rejected', true, 110, false]);
});

test('an exercise is an order, too', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const contract = { ...AAPL, secType: 'OPT', lastTradeDateOrContractMonth: '20270115', strike: 200, right: 'C', multiplier: 100 };
  const args = { contract, exerciseAction: 1, exerciseQuantity: 1, account: 'DU1234567', override: 0 };
  const order = await ib.exerciseOptions(args, { key: 'k' });
  assert.deepEqual([order.cmd, order.key, (await order.wait({ until: 'done' })).reason], ['exerciseOptions', 'k', 'rejected']);
  assert.equal((await ib.exerciseOptions(args, { key: 'k' })).dup, true);
});

test('a command that the daemon refuses throws with its code, and is not waited for', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  await assert.rejects(ib.placeOrder(AAPL, { ...LOW, lmtPrice: '12x' }, { key: 'k' }), refused('E_ARG'));
  const order = await ib.placeOrder(AAPL, LOW, { key: 'k' }); // the refused order has left the key free
  await order.wait({ until: 'working' });
  await assert.rejects(ib.placeOrder(AAPL, limit('BUY', 1, 2), { key: 'k' }), refused('E_KEY_REUSED'));
  await assert.rejects(ib.placeOrders([{ contract: AAPL, order: LOW, parent: 'nobody' }]), refused('E_ARG'));
  await assert.rejects(order.modify({ nonsense: 1 }), refused('E_ARG'));
  await assert.rejects(ib.cancelOrder('nobody'), refused('E_ARG'));
  await assert.rejects(ib.cancelOrder({ permId: 1 }), Refused);
  assert.equal((await ib.cancelOrders(['nobody']))[0].error?.code, 'E_ARG');
  assert.equal((await order.wait({ timeout: 0 })).state, 'working', 'no change and no cancel is awaited');
  await order.cancel();
  await order.wait({ until: 'done' });
  await assert.rejects(order.modify({ lmtPrice: 2 }), refused('E_STATE'));
  await assert.rejects(order.modify({}), TypeError);
  await assert.rejects(ib.cancelOrders(/** @type {any} */ ([7])), /7 is no order/);
  await assert.rejects(connect('a/b'), TypeError);
});

test('an order that no client of the daemon has placed is named by its permId', LIMIT, async (t) => {
  const other = await daemonFor(t);
  const placer = clientId;
  const order = await (await connected(t, other)).placeOrder(AAPL, LOW);
  const { permId } = await order.wait({ until: ({ permId }) => permId !== null });
  const daemon = await daemonFor(t);
  const feed = new Feed({ pub: daemon.pub, rep: daemon.rep, prefixes: ['ord.ext.'] });
  t.after(() => feed.close());
  for await (const event of feed) if (event.event === 'message' && event.body.ref?.permId === permId) break;
  const ib = await connected(t, daemon);
  await assert.rejects(ib.cancelOrder({ permId: Number(permId) }), (error) =>
    refused('E_ARG')(error) && error instanceof Error && error.message.includes(`client id ${placer} has placed the order`));
});

test('a change that was made elsewhere meanwhile is made above it', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const [here, there] = [await connected(t, daemon), await connected(t, daemon)];
  const order = await here.placeOrder(AAPL, LOW, { key: 'k' });
  await order.wait({ until: 'working' });
  // The change is sent before the state with the other's revision can have come.
  await there.modifyOrder('k', { lmtPrice: 1.5 }, 9);
  const change = order.modify({ lmtPrice: 1.6 });
  const made = await change.catch(async (error) => {
    assert.ok(refused('E_STATE', 'not_sent')(error)); // the other's change was under way
    await order.wait({ until: ({ rev, state }) => rev === 9 && state === 'working' });
    return order.modify({ lmtPrice: 1.6 });
  });
  assert.ok(made.result.rev > 9);
  assert.equal((await made.wait()).rev, made.result.rev);
});

// --- waits ----------------------------------------------------------------------------------------------------------------

test('a wait ends in time, by a signal, or by the fault of its function, and the order goes on', LIMIT, async (t) => {
  const ib = await connected(t, await daemonFor(t));
  const order = await ib.placeOrder(AAPL, LOW, { key: 'k' });
  await order.wait({ until: 'working' });
  await assert.rejects(order.wait({ until: ['cancelling', 'filled'], timeout: AT_ONCE }), (error) =>
    error instanceof Unanswered && error.key === 'k'
    && error.message === `the order 'k' is working: for ${AT_ONCE} ms it was not cancelling or filled`);
  await assert.rejects(order.wait({ until: /** @type {any} */ ('workin') }), RangeError);
  const ending = new AbortController();
  const waits = [order.wait({ until: 'done', signal: ending.signal, timeout: Infinity }), (async () => {
    for await (const _ of order.states({ signal: ending.signal }));
  })()];
  const why = new Error('enough');
  const rejected = Promise.all(waits.map((wait) => assert.rejects(wait, why)));
  ending.abort(why);
  await rejected;
  await assert.rejects(order.wait({ signal: ending.signal }), why);
  let asked = 0;
  const faulty = assert.rejects(order.wait({ until: () => { if ((asked += 1) > 1) throw why; return false; } }), why);
  await order.modify({ lmtPrice: 1.1 });
  await faulty;
  assert.equal((await order.wait()).state, 'working');
  for await (const { state } of order) { assert.equal(state, 'working'); break; }
});

test('closing the client ends waits, iterations and pending commands', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const ib = await connected(t, daemon);
  const order = await ib.placeOrder(AAPL, LOW);
  await order.wait({ until: 'working' });
  daemon.signal('SIGSTOP');
  const wait = order.wait({ until: 'done', timeout: Infinity });
  const iteration = (async () => { for await (const _ of order); })();
  const [pending, queued] = [ib.placeOrder(AAPL, LOW), order.cancel()];
  const what = ib.whatIfOrder(AAPL, LOW);
  await assert.rejects(order.wait({ until: 'done', timeout: AT_ONCE }), Unanswered); // by then the first command has left
  const closed = (/** @type {string} */ outcome) => (/** @type {any} */ error) =>
    error instanceof Closed && error.outcome === outcome;
  const rejected = Promise.all([
    ...[wait, iteration, what].map((each) => assert.rejects(each, Closed)),
    assert.rejects(pending, closed('unknown')),
    assert.rejects(queued, closed('not_sent')),
  ]);
  ib.close();
  ib.close();
  await rejected;
  await assert.rejects(ib.placeOrder(AAPL, LOW), closed('not_sent'));
  await assert.rejects(order.wait({ until: 'done' }), Closed);
});

test('a daemon that is not there is an error of connect', LIMIT, async () => {
  const nowhere = { pub: 'ipc:///tmp/ibbridge-nobody-pub', rep: 'ipc:///tmp/ibbridge-nobody', timeout: AT_ONCE };
  await assert.rejects(connect('me', nowhere), (error) => error instanceof Unanswered && /Is ibbridge running/.test(error.message));
});

// --- other clients, restarts, gaps ------------------------------------------------------------------------------------------

test('a client that connects later sees the state that was there before', LIMIT, async (t) => {
  const daemon = await daemonFor(t, { 'bus.prefix': 'eu' });
  const first = await connected(t, daemon, 'odd name %', { root: 'eu.' });
  const order = await first.placeOrder(AAPL, LOW, { key: 'k.1' });
  await order.wait({ until: 'working' });
  first.close();

  const later = await connected(t, daemon, first.client, { root: 'eu.' });
  const again = await later.placeOrder(AAPL, LOW, { key: 'k.1' });
  assert.deepEqual([again.dup, again.state.state, again.state.orderId], [true, 'working', order.state.orderId]);
  assert.equal((await again.wait({ timeout: 0 })).state, 'working');
  const changed = await again.modify({ lmtPrice: 1.1 });
  assert.equal((await changed.wait()).rev, 1);
  const third = await connected(t, daemon, first.client, { root: 'eu.' });
  const listed = (await byKey(third.orders({ state: 'working', since: 1 }))).get('k.1');
  assert.deepEqual([listed?.state.rev, listed?.result.contract.symbol], [1, 'AAPL']);
  await third.cancelOrders(listed);
  assert.deepEqual([(await listed?.wait({ until: 'done' }))?.reason, (await again.wait({ until: 'done' })).reason],
    ['cancelled', 'cancelled']);
  assert.deepEqual(await byKey(third.orders({ since: 9e15 })), new Map());
});

test('a handle and a wait go on over a stop and a crash of the daemon', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const ib = await connected(t, daemon);
  /** @type {any[]} */
  const events = [];
  ib.on('epoch', (event) => events.push(event));
  const order = await ib.placeOrder(AAPL, LOW, { key: 'k' });
  await order.wait({ until: 'working' });
  const ended = order.wait({ until: 'done', timeout: Infinity });
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGKILL'])) {
    await daemon.process?.end(signal);
    await daemon.start();
    const changed = await order.modify({ lmtPrice: 1 + (order.state.rev + 1) / 10 });
    assert.equal((await changed.wait({ until: 'working' })).state, 'working');
  }
  assert.deepEqual([order.state.rev, events.length], [2, 2]);
  const again = await ib.placeOrder(AAPL, LOW, { key: 'k' });
  assert.deepEqual([again.dup, again.state], [true, order.state]);
  await order.cancel();
  assert.equal((await ended).reason, 'cancelled');
});

test('a restarted daemon tells a client that connects then what it knows of older orders', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  const first = await connected(t, daemon);
  const order = await first.placeOrder(AAPL, LOW, { key: 'k' });
  await order.wait({ until: 'working' });
  first.close();
  await daemon.kill();
  await daemon.start();
  const later = await connected(t, daemon);
  const again = await later.placeOrder(AAPL, LOW, { key: 'k' });
  assert.deepEqual([again.dup, again.state.orderId], [true, order.state.orderId]);
  assert.equal((await again.wait({ until: 'working' })).state, 'working');
});

test('states that were lost on the way come by replay', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  let lost = 0;
  const { pub } = await lossyFeed(t, daemon, (topic) => {
    const gone = topic.endsWith('.k.orderState.') && lost < 4;
    lost += Number(gone);
    return gone;
  });
  const ib = await connected(t, { pub, rep: daemon.rep });
  const order = await ib.placeOrder(AAPL, LOW, { key: 'k' });
  assert.equal((await order.wait({ until: 'working' })).state, 'working');
  await order.cancel();
  const names = [];
  for await (const { state } of order) names.push(state);
  assert.equal(order.state.reason, 'cancelled');
  assert.equal(lost, 4);
});

test('an order, a change and a cancel whose replies were lost are made once', LIMIT, async (t) => {
  const daemon = await daemonFor(t);
  /** @type {Map<string, number>} */
  const tries = new Map();
  const way = await lossyWay(t, daemon, async ({ cmd }) => {
    tries.set(cmd, (tries.get(cmd) ?? 0) + 1);
    return tries.get(cmd) === 1 && cmd !== 'snapshot' ? 'lost' : 'kept';
  });
  const ib = await connected(t, { pub: daemon.pub, rep: way.rep });
  const order = await ib.placeOrder(AAPL, LOW, { key: 'k' });
  assert.equal((await order.wait({ until: 'working' })).state, 'working');
  await order.modify({ lmtPrice: 1.1 });
  assert.equal((await order.wait({ until: 'working' })).rev, 1);
  await order.cancel();
  assert.equal((await order.wait({ until: 'done' })).reason, 'cancelled');
  assert.deepEqual(['placeOrder', 'modifyOrder', 'cancelOrder'].map((cmd) => tries.get(cmd)), [2, 2, 2]);
  assert.equal((await byKey(ib.orders())).size, 1);
});

// --- order makers -------------------------------------------------------------------------------------------------------------

test('a bracket has the entry\'s account and duration, and an exit at least', () => {
  const entry = limit('SELL', 5, 100, { account: 'DU1', tif: 'GTC', outsideRth: true });
  const shared = { totalQuantity: 5, account: 'DU1', tif: 'GTC', outsideRth: true };
  assert.deepEqual(bracket('b', AAPL, entry, { loss: 110 }), [
    { key: 'b', contract: AAPL, order: entry },
    { key: 'b-loss', contract: AAPL, order: stop('BUY', 5, 110, { account: 'DU1', tif: 'GTC', outsideRth: true }), parent: 'b' },
  ]);
  assert.deepEqual(bracket('b', AAPL, entry, { profit: 90 })[1].order, { action: 'BUY', orderType: 'LMT', lmtPrice: 90, ...shared });
  assert.throws(() => bracket('b', AAPL, entry, {}), /a bracket has an exit/);
});
