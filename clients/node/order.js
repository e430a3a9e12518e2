#!/usr/bin/env node
/**
 * Places a limit order and follows it until it is done; Ctrl-C cancels it.
 *
 * The key makes a repetition safe, also after a restart of the daemon: run again with the same key and order, the script
 * places no second order, and follows the first one. Exit code 0: filled; 1: cancelled, refused, or not known.
 */

import { parseArgs } from 'node:util';

import { decode } from '@msgpack/msgpack';

import { Commands, connect, Feed, limit, loadKeys, nearest, Refused } from './client.js';
import { topic } from './topics.js';

const keys = loadKeys();

/**
 * @typedef {import('./client.js').PlacedOrder} PlacedOrder
 * @typedef {import('./messages.js').Body} Body
 */

const USAGE = `usage: node order.js [options] BUY|SELL QUANTITY SYMBOL LIMIT
  --client NAME    the client's name (default: node)
  --key KEY        the order's key (default: a new one each time)
  --secType STK --exchange SMART --currency USD --account ACCOUNT
  --pub ENDPOINT --rep ENDPOINT    the daemon's bus.pub and bus.rep
  --root PREFIX    the daemon's bus.prefix and a dot, if the prefix is set`;

/** @param {string[]} argv */
function arguments_(argv) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      pub: { type: 'string', default: nearest('pub', keys) },
      rep: { type: 'string', default: nearest('rep', keys) },
      root: { type: 'string', default: '' },
      client: { type: 'string', default: 'node' },
      key: { type: 'string' },
      secType: { type: 'string', default: 'STK' },
      exchange: { type: 'string', default: 'SMART' },
      currency: { type: 'string', default: 'USD' },
      account: { type: 'string' },
    },
  });
  const [action, quantity, symbol, price] = positionals;
  if (positionals.length !== 4 || !['BUY', 'SELL'].includes(action) || !(Number(quantity) > 0) || Number.isNaN(Number(price))) {
    console.error(USAGE);
    process.exit(2);
  }
  const { secType, exchange, currency, account } = values;
  const contract = { symbol, secType, exchange, currency };
  const wanted = limit(action, quantity, Number(price), account ? { account } : {});
  return { ...values, contract, wanted };
}

/** Fills of one order. They may come more than once, and later than the end of the order. */
class Fills {
  /** @type {Map<string, number>} */
  #shares = new Map();

  /** @param {PlacedOrder} order */
  constructor(order) {
    this.order = order;
  }

  /** True if the order is over and all of its fills have come. */
  get complete() {
    const { done, filled } = this.order.state;
    return done && [...this.#shares.values()].reduce((sum, shares) => sum + shares, 0) >= (filled ?? 0);
  }

  /** @param {Body} body */
  show({ type, ref, data }) {
    if (type !== 'execDetails' || ref?.key !== this.order.key) return;
    const { execId, shares, side, price } = data.execution;
    if (!this.#shares.has(execId)) console.log(`fill    ${this.order.key}: ${side} ${shares} at ${price}`);
    this.#shares.set(execId, shares);
  }
}

/**
 * Yields the messages of a durable stream, from the oldest that the daemon keeps.
 * @param {Commands} commands
 * @param {string} stream
 * @returns {AsyncGenerator<Body>}
 */
async function* past(commands, stream) {
  for (let from = 1; from !== null;) {
    try {
      const { result } = await commands.call('replay', { stream, from });
      for (const [, body] of result.messages) yield /** @type {Body} */ (decode(body));
      from = result.next;
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== 'E_GAP_TOO_OLD' || !error.fault.first) throw error;
      from = error.fault.first;
    }
  }
}

/**
 * Shows the fills that come, until they are complete or the feed is closed.
 * @param {Feed} feed
 * @param {Fills} fills
 */
async function follow(feed, fills) {
  for await (const event of feed) {
    if (event.event === 'message') fills.show(event.body);
    else console.error(JSON.stringify(event));
    if (fills.complete) return;
  }
}

/** @param {PlacedOrder} order */
async function showStates(order) {
  for await (const { state, reason, filled, remaining, lastError } of order) {
    const left = remaining === null ? '' : `, ${filled ?? 0} filled, ${remaining} to go`;
    console.log(`order   ${order.key}: ${reason ?? state}${left}`);
    if (lastError) console.log(`error   ${order.key}: ${lastError.code} ${lastError.text}`);
  }
}

/** @param {PlacedOrder} order */
async function cancel(order) {
  try {
    await order.cancel();
    console.log(`cancel  ${order.key}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
  }
}

const { pub, rep, root, client, key, contract, wanted } = arguments_(process.argv.slice(2));
const executions = root + topic('exec', client);
const feed = new Feed({ pub, rep, keys, root, prefixes: [executions] });
const commands = new Commands(rep, client);
/** @type {import('./client.js').Orders | undefined} */
let ib;

try {
  ib = await connect(client, { pub, rep, root, keys });
  for await (const { event } of feed) if (event === 'ready') break; // from here on no fill is missed
  const order = await ib.placeOrder(contract, wanted, { key });
  const { action, totalQuantity, lmtPrice } = wanted;
  console.log(`${order.dup ? 'known  ' : 'placed '} ${order.key}: ${action} ${totalQuantity} ${contract.symbol} LMT ${lmtPrice}`);
  process.on('SIGINT', () => cancel(order));
  const fills = new Fills(order);
  if (order.dup) for await (const body of past(commands, executions)) fills.show(body);
  await Promise.all([follow(feed, fills), showStates(order).then(() => fills.complete && feed.close())]);
  process.exitCode = order.state.reason === 'filled' ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  for (const each of [feed, commands, ib]) each?.close();
}
