"""Example of a bracket: buy 100 AAPL with a target and a stop, move the target to the market, and print each end.

Start a daemon (`ibbridge run`), and for it to connect to, TWS or IB Gateway with a paper account, or `ibbridge sim`.
Then run this file, as often as you like. The example refuses an account that may hold real money.
"""

import time

from ibbridge.client import bracket, connect, limit, stock

LAST = (4, 68)  # IB's tick types for the last trade, live and delayed
MINUTE = 60.0

with connect("bracket") as ib:
    accounts = ib.status()["tws"]["accounts"]
    if not accounts or not all(account.startswith("D") for account in accounts):  # as IB's paper accounts do
        raise SystemExit(f"accounts {accounts}: this example trades, so it takes paper accounts only")
    aapl = stock("AAPL")
    ib.reqMktData(aapl)
    ticks = (message for message in ib if message.type == "tickPrice" and message.tickType in LAST)
    price = round(next(tick.price for tick in ticks if tick.price > 0), 2)
    name = f"b{int(time.time() * 1000)}"  # a name that no other run uses
    orders = bracket(name, aapl, limit("BUY", 100, price + 1), profit=price + 20, loss=price - 20)
    entry, target, stop_loss = ib.placeOrders(orders)
    print(f"entry: {entry.wait('done', MINUTE).reason} at {entry.state.avgFillPrice}", flush=True)
    target.wait("working")
    target.modify(lmtPrice=price - 1)  # below the market: it sells at once
    print(f"target: {target.wait('done', MINUTE).reason} at {target.state.avgFillPrice}", flush=True)
    print(f"stop: {stop_loss.wait('done', MINUTE).reason}", flush=True)
