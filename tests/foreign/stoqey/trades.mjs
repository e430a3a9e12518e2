// Trade with @stoqey/ib, unchanged: `node trades.mjs PORT`.
import { EventName, IBApi, OrderAction, OrderType, SecType, TimeInForce } from "@stoqey/ib";

const PATIENCE = 30_000;
const port = Number(process.argv[2]);
const say = (step, about = {}) => console.log(JSON.stringify({ step, ...about }));
const apple = { symbol: "AAPL", exchange: "SMART", currency: "USD", secType: SecType.STK };
const errors = [];

function connected() {
  const ib = new IBApi({ host: "127.0.0.1", port, clientId: 24 });
  ib.on(EventName.error, (error, code) => {
    if (code < 2000 && code !== 202) errors.push([code, String(error.message ?? error)]);
  });
  return ib;
}

// The arguments of the next event of a name for which something holds.
function next(ib, name, holds = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      console.error(`${name} did not come; errors: ${JSON.stringify(errors)}`);
      process.exit(1);
    }, PATIENCE);
    const hear = (...args) => {
      if (!holds(...args)) return;
      clearTimeout(timer);
      ib.off(name, hear);
      resolve(args);
    };
    ib.on(name, hear);
  });
}

const works = (id) => (number, status) => number === id && (status === "Submitted" || status === "PreSubmitted");
const is = (id, wanted) => (number, status) => number === id && status === wanted;
const cents = (price) => Math.round(price * 100) / 100;
const order = (action, totalQuantity, orderType, price, parentId, transmit = true) => ({
  action, totalQuantity, orderType, tif: TimeInForce.GTC, parentId, transmit,
  ...(orderType === OrderType.STP ? { auxPrice: price } : { lmtPrice: price }),
});

let ib = connected();
const ready = next(ib, EventName.nextValidId);
ib.connect();
const [first] = await ready;

const detailed = next(ib, EventName.contractDetails);
ib.reqContractDetails(1, apple);
const [, details] = await detailed;
say("contract", { conId: details.contract.conId, minTick: details.minTick, industry: details.industry ?? "",
  isin: (details.secIdList ?? []).find((each) => each.tag === "ISIN")?.value ?? null });

const bid = next(ib, EventName.tickPrice, (_, type, price) => type === 1 && price > 0);
const ask = next(ib, EventName.tickPrice, (_, type, price) => type === 2 && price > 0);
ib.reqMktData(2, apple, "", false, false);
const [, , low] = await bid;
const [, , high] = await ask;
say("data", { bid: low, ask: high });
let bars = 0;
ib.on(EventName.historicalData, (_, time) => { if (!time.startsWith("finished")) bars += 1; });
const over = next(ib, EventName.historicalData, (_, time) => time.startsWith("finished"));
ib.reqHistoricalData(3, apple, "", "1 D", "5 mins", "TRADES", 1, 1, false);
await over;
say("history", { bars });

const [parent, profit, stop] = [first, first + 1, first + 2];
const filled = next(ib, EventName.execDetails, (_, __, execution) => execution.orderId === parent);
const paid = next(ib, EventName.commissionReport);
ib.placeOrder(parent, apple, order(OrderAction.BUY, 100, OrderType.LMT, cents(high * 1.01), 0, false));
ib.placeOrder(profit, apple, order(OrderAction.SELL, 100, OrderType.LMT, cents(high * 1.2), parent, false));
ib.placeOrder(stop, apple, order(OrderAction.SELL, 100, OrderType.STP, cents(high * 0.8), parent));
const [, , execution] = await filled;
const [report] = await paid;
say("bracket", { filled: execution.shares, commission: report.commission });

const wanted = cents(high * 1.21);
const changed = next(ib, EventName.openOrder, (id, _, each) => id === profit && each.lmtPrice === wanted);
ib.placeOrder(profit, apple, order(OrderAction.SELL, 100, OrderType.LMT, wanted, parent));
const [, , now] = await changed;
say("change", { price: now.lmtPrice, wanted });

const cancelled = next(ib, EventName.orderStatus, is(profit, "Cancelled"));
ib.cancelOrder(profit);
const [, status] = await cancelled;
const resting = next(ib, EventName.orderStatus, works(first + 3));
ib.placeOrder(first + 3, apple, order(OrderAction.BUY, 7, OrderType.LMT, cents(low * 0.7), 0));
await resting;
say("cancel", { status });
const gone = next(ib, EventName.disconnected);
ib.disconnect();
await gone;

ib = connected();
const again = next(ib, EventName.nextValidId);
ib.connect();
const [nextId] = await again;
const held = next(ib, EventName.position, (_, contract) => contract.symbol === "AAPL");
ib.reqPositions();
const [, , position] = await held;
const open = [];
// TWS may repeat an order: on the connection, and in the list.
ib.on(EventName.openOrder, (id) => { if (!open.includes(id)) open.push(id); });
const listed = next(ib, EventName.openOrderEnd);
ib.reqOpenOrders();
await listed;
let executions = 0;
ib.on(EventName.execDetails, () => { executions += 1; });
const told = next(ib, EventName.execDetailsEnd);
ib.reqExecutions(9, {});
await told;
say("reconcile", { position, open: open.length, executions, nextId });
const last = next(ib, EventName.orderStatus, is(open[0], "Cancelled"));
ib.cancelOrder(open[0]);
await last;
say("errors", { errors });
ib.disconnect();
say("done");
setTimeout(() => process.exit(0), 200);
