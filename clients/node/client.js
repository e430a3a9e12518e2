/**
 * Client of ibbridge: `Feed` receives published messages, `Commands` sends commands, and `Orders` does both for orders.
 * `Lifeline` tells the daemon that the program is there; `connect` has one.
 *
 * follow.js knows what a message means for the streams, order-state.js what it means for an order.
 */

export { Commands } from './commands.js';
export { AuthError, Closed, Refused, SubscriptionRefused, TwsError, Unanswered } from './errors.js';
export { Feed } from './feed.js';
export { loadKeys, nearest } from './keys.js';
export { Lifeline } from './lifeline.js';
export { PlacedOrder } from './order-handle.js';
export { bracket, limit, market, stop } from './order-makers.js';
export { OrderState } from './order-state.js';
export { connect, Orders } from './orders.js';
