/** Strategy of the tests: places two orders and subscribes, then waits to be killed, or for a SIGTERM to close. */

import { connect, limit } from '../client.js';

const [pub, rep, client, how] = process.argv.slice(2);
const contract = { symbol: 'AAPL', secType: 'STK', exchange: 'SMART', currency: 'USD' };
const ib = await connect(client, {
  pub, rep, window: 200, cancelOnDisconnect: /** @type {import('../lifeline.js').CancelOn} */ (how), timeout: 20_000,
});
process.once('SIGTERM', () => ib.close());
await (await ib.placeOrder(contract, limit('BUY', 1, 1), { key: 'flagged' })).wait({ until: 'working' });
await (await ib.placeOrder(contract, limit('BUY', 1, 1), { key: 'stays', cancelOnDisconnect: 'never' })).wait({ until: 'working' });
await ib.call('reqMktData', { contract });
await ib.call('reqMktData', { contract: { ...contract, symbol: 'MSFT' } }, { keep: true });
console.log('placed');
