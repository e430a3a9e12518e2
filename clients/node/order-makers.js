/**
 * Order makers: plain maps under IB's attribute names. Further attributes of IB's order go into `more`.
 *
 * Quantities and prices are numbers, or decimal text where the exact digits matter.
 */

/**
 * @typedef {Record<string, any>} Contract
 * @typedef {Record<string, any>} Order
 * @typedef {number | string} Quantity
 * @typedef {{contract: Contract, order: Order, key?: string, parent?: string | {key: string},
 *   cancelOnDisconnect?: import('./lifeline.js').CancelOn}} Member
 * Order of a group: `key` is its own key (default: a new one), `parent` the key or handle of an order before it, and
 * `cancelOnDisconnect` its own word in place of the client's.
 */

/** Attributes that the exits of a bracket take from its entry. */
const SHARED = ['account', 'faGroup', 'faMethod', 'faPercentage', 'outsideRth'];

/**
 * Returns a market order: `market('BUY', 100)`.
 * @param {string} action
 * @param {Quantity} totalQuantity
 * @param {Order} more
 * @returns {Order}
 */
export function market(action, totalQuantity, more = {}) {
  return { action, orderType: 'MKT', totalQuantity, ...more };
}

/**
 * Returns a limit order: `limit('SELL', 100, 191.50, { tif: 'GTC' })`.
 * @param {string} action
 * @param {Quantity} totalQuantity
 * @param {number} lmtPrice
 * @param {Order} more
 * @returns {Order}
 */
export function limit(action, totalQuantity, lmtPrice, more = {}) {
  return { action, orderType: 'LMT', totalQuantity, lmtPrice, ...more };
}

/**
 * Returns a stop order, which becomes a market order when the market trades through `auxPrice`.
 * @param {string} action
 * @param {Quantity} totalQuantity
 * @param {number} auxPrice
 * @param {Order} more
 * @returns {Order}
 */
export function stop(action, totalQuantity, auxPrice, more = {}) {
  return { action, orderType: 'STP', totalQuantity, auxPrice, ...more };
}

/**
 * Returns an order and its exits, for `placeOrders`: a limit order at `profit`, and a stop order at `loss`.
 *
 * The orders have the keys `key`, `key-profit` and `key-loss`. The exits begin to work when the entry fills, and when one
 * of them fills TWS cancels the other. They are for the entry's quantity and account, and GTC if the entry is.
 * @param {string} key
 * @param {Contract} contract
 * @param {Order} entry
 * @param {{profit?: number, loss?: number}} exits
 * @returns {Member[]}
 */
export function bracket(key, contract, entry, { profit, loss }) {
  if (profit === undefined && loss === undefined) throw new TypeError('a bracket has an exit: give profit, loss, or both');
  const action = entry.action === 'BUY' ? 'SELL' : 'BUY';
  const more = Object.fromEntries(SHARED.filter((name) => name in entry).map((name) => [name, entry[name]]));
  if (entry.tif === 'GTC') more.tif = 'GTC';
  /** @type {Member[]} */
  const members = [{ key, contract, order: entry }];
  if (profit !== undefined) {
    members.push({ key: `${key}-profit`, contract, order: limit(action, entry.totalQuantity, profit, more), parent: key });
  }
  if (loss !== undefined) {
    members.push({ key: `${key}-loss`, contract, order: stop(action, entry.totalQuantity, loss, more), parent: key });
  }
  return members;
}
