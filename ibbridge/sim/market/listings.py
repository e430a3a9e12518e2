"""Listed names, with their real conIds, CUSIPs and ISINs.

Facts only. A conId of 0 means that none is known here; the catalogue then makes a conId of its own. A name outside this
table exists only in a market of made-up names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Known(NamedTuple):
    """Listed name, with a price near its real one.

    `number` is the CUSIP of an American security, else the ISIN; empty if there is none. `trade` has industry, category
    and subcategory.
    """

    con_id: int
    name: str
    primary: str
    price: float
    tick: float = 0.0
    multiplier: str = ""
    number: str = ""
    trade: tuple[str, str, str] = ("", "", "")
    fund: bool = False

    @property
    def isin(self) -> str:
        """Return the ISIN; empty if there is none."""
        return self.number if len(self.number) != _CUSIP else isin_of(self.number)


_CUSIP = 9
Key = tuple[str, str, str]
"""Type of security, symbol and currency, which together identify a name."""


def isin_of(cusip: str) -> str:
    """Return the ISIN of an American CUSIP: the country before the CUSIP, and a check digit behind."""
    stem = f"US{cusip}"
    digits = [int(digit) for letter in stem for digit in str(int(letter, 36))]
    doubled = (digit * (2 - place % 2) for place, digit in enumerate(reversed(digits)))
    return f"{stem}{-sum(part // 10 + part % 10 for part in doubled) % 10}"


def invented_cusip(*parts: object) -> str:
    """Return nine digits for a name that has no CUSIP, always the same for the same parts."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return f"{int.from_bytes(digest, 'big') % 1_000_000_000:09}"


_COMPUTERS = ("Technology", "Computers", "Computers")
_SOFTWARE = ("Technology", "Software", "Applications Software")
_CHIPS = ("Technology", "Semiconductors", "Electronic Compo-Semicon")
_INTERNET = ("Communications", "Internet", "Internet Content-Entmnt")
_SHOPS = ("Communications", "Internet", "E-Commerce/Products")
_TELEPHONES = ("Communications", "Telecommunications", "Telephone-Integrated")
_CARS = ("Consumer, Cyclical", "Auto Manufacturers", "Auto-Cars/Light Trucks")
_RETAIL = ("Consumer, Cyclical", "Retail", "Retail-Discount")
_FOOD = ("Consumer, Non-cyclical", "Beverages", "Beverages-Non-alcoholic")
_DRUGS = ("Consumer, Non-cyclical", "Pharmaceuticals", "Medical-Drugs")
_BANKS = ("Financial", "Banks", "Diversified Banking Inst")
_BROKERS = ("Financial", "Diversified Finan Serv", "Finance-Invest Bnkr/Brkr")
_MACHINES = ("Industrial", "Machinery", "Machinery-Constr&Mining")
_PLANES = ("Industrial", "Aerospace/Defense", "Aerospace/Defense")
_OIL = ("Energy", "Oil&Gas", "Oil Comp-Integrated")
_MINES = ("Basic Materials", "Mining", "Diversified Minerals")
_SHARES = ("Funds", "Equity Fund", "Growth&Income-Large Cap")

# Symbol, conId, CUSIP, listed on, price, name, trade.
_AMERICAN = (
    ("AAPL", 265598, "037833100", "NASDAQ", 230, "APPLE INC", _COMPUTERS),
    ("MSFT", 272093, "594918104", "NASDAQ", 430, "MICROSOFT CORP", _SOFTWARE),
    ("NVDA", 4815747, "67066G104", "NASDAQ", 170, "NVIDIA CORP", _CHIPS),
    ("AMZN", 3691937, "023135106", "NASDAQ", 220, "AMAZON.COM INC", _SHOPS),
    ("GOOG", 208813720, "02079K107", "NASDAQ", 190, "ALPHABET INC-CL C", _INTERNET),
    ("GOOGL", 208813719, "02079K305", "NASDAQ", 190, "ALPHABET INC-CL A", _INTERNET),
    ("META", 107113386, "30303M102", "NASDAQ", 650, "META PLATFORMS INC", _INTERNET),
    ("TSLA", 76792991, "88160R101", "NASDAQ", 320, "TESLA INC", _CARS),
    ("INTC", 270639, "458140100", "NASDAQ", 25, "INTEL CORP", _CHIPS),
    ("AMD", 4391, "007903107", "NASDAQ", 150, "ADVANCED MICRO DEVICES", _CHIPS),
    ("IBM", 8314, "459200101", "NYSE", 250, "INTL BUSINESS MACHINES CORP", _COMPUTERS),
    ("GE", 498843743, "369604301", "NYSE", 240, "GENERAL ELECTRIC", _PLANES),
    ("KO", 8894, "191216100", "NYSE", 68, "COCA-COLA CO/THE", _FOOD),
    ("JPM", 1520593, "46625H100", "NYSE", 280, "JPMORGAN CHASE & CO", _BANKS),
    ("IBKR", 43645865, "45841N107", "NASDAQ", 60, "INTERACTIVE BROKERS GRO-CL A", _BROKERS),
    ("AVGO", 0, "11135F101", "NASDAQ", 280, "BROADCOM INC", _CHIPS),
    ("NFLX", 15124833, "64110L106", "NASDAQ", 110, "NETFLIX INC", _INTERNET),
    ("ADBE", 265768, "00724F101", "NASDAQ", 360, "ADOBE INC", _SOFTWARE),
    ("CSCO", 268084, "17275R102", "NASDAQ", 68, "CISCO SYSTEMS INC", _COMPUTERS),
    ("QCOM", 273544, "747525103", "NASDAQ", 155, "QUALCOMM INC", _CHIPS),
    ("TXN", 0, "882508104", "NASDAQ", 190, "TEXAS INSTRUMENTS INC", _CHIPS),
    ("MU", 0, "595112103", "NASDAQ", 120, "MICRON TECHNOLOGY INC", _CHIPS),
    ("COST", 0, "22160K105", "NASDAQ", 950, "COSTCO WHOLESALE CORP", _RETAIL),
    ("PEP", 0, "713448108", "NASDAQ", 140, "PEPSICO INC", _FOOD),
    ("SBUX", 274105, "855244109", "NASDAQ", 90, "STARBUCKS CORP", _RETAIL),
    ("PYPL", 0, "70450Y103", "NASDAQ", 70, "PAYPAL HOLDINGS INC", _BROKERS),
    ("COIN", 481691285, "19260Q107", "NASDAQ", 320, "COINBASE GLOBAL INC -CLASS A", _BROKERS),
    ("PLTR", 444857009, "69608A108", "NASDAQ", 160, "PALANTIR TECHNOLOGIES INC-A", _SOFTWARE),
    ("MELI", 45602025, "58733R102", "NASDAQ", 2300, "MERCADOLIBRE INC", _SHOPS),
    ("ORCL", 0, "68389X105", "NYSE", 240, "ORACLE CORP", _SOFTWARE),
    ("CRM", 0, "79466L302", "NYSE", 250, "SALESFORCE INC", _SOFTWARE),
    ("UBER", 365207014, "90353T100", "NYSE", 92, "UBER TECHNOLOGIES INC", _INTERNET),
    ("BRK B", 72063691, "084670702", "NYSE", 490, "BERKSHIRE HATHAWAY INC-CL B", _BANKS),
    ("V", 49462172, "92826C839", "NYSE", 350, "VISA INC-CLASS A SHARES", _BROKERS),
    ("MA", 38685693, "57636Q104", "NYSE", 570, "MASTERCARD INC - A", _BROKERS),
    ("BAC", 10098, "060505104", "NYSE", 48, "BANK OF AMERICA CORP", _BANKS),
    ("WFC", 10375, "949746101", "NYSE", 80, "WELLS FARGO & CO", _BANKS),
    ("C", 87335484, "172967424", "NYSE", 95, "CITIGROUP INC", _BANKS),
    ("GS", 4627828, "38141G104", "NYSE", 720, "GOLDMAN SACHS GROUP INC", _BANKS),
    ("MS", 2841574, "617446448", "NYSE", 145, "MORGAN STANLEY", _BANKS),
    ("WMT", 13824, "931142103", "NYSE", 100, "WALMART INC", _RETAIL),
    ("HD", 7930, "437076102", "NYSE", 380, "HOME DEPOT INC", _RETAIL),
    ("MCD", 9408, "580135101", "NYSE", 300, "MCDONALD'S CORP", _RETAIL),
    ("NKE", 10291, "654106103", "NYSE", 75, "NIKE INC -CL B", _RETAIL),
    ("DIS", 6459, "254687106", "NYSE", 118, "WALT DISNEY CO/THE", _INTERNET),
    ("PG", 0, "742718109", "NYSE", 155, "PROCTER & GAMBLE CO/THE", _FOOD),
    ("JNJ", 8719, "478160104", "NYSE", 170, "JOHNSON & JOHNSON", _DRUGS),
    ("PFE", 0, "717081103", "NYSE", 25, "PFIZER INC", _DRUGS),
    ("MRK", 70101545, "58933Y105", "NYSE", 83, "MERCK & CO. INC.", _DRUGS),
    ("LLY", 9160, "532457108", "NYSE", 740, "ELI LILLY & CO", _DRUGS),
    ("UNH", 0, "91324P102", "NYSE", 310, "UNITEDHEALTH GROUP INC", _DRUGS),
    ("XOM", 13977, "30231G102", "NYSE", 112, "EXXON MOBIL CORP", _OIL),
    ("CVX", 5684, "166764100", "NYSE", 155, "CHEVRON CORP", _OIL),
    ("NXE", 204774537, "65340P106", "NYSE", 7, "NEXGEN ENERGY LTD", _MINES),
    ("BA", 4762, "097023105", "NYSE", 225, "BOEING CO/THE", _PLANES),
    ("CAT", 5437, "149123101", "NYSE", 430, "CATERPILLAR INC", _MACHINES),
    ("F", 9599, "345370860", "NYSE", 12, "FORD MOTOR CO", _CARS),
    ("GM", 80986742, "37045V100", "NYSE", 56, "GENERAL MOTORS CO", _CARS),
    ("T", 37018770, "00206R102", "NYSE", 28, "AT&T INC", _TELEPHONES),
    ("VZ", 4901, "92343V104", "NYSE", 43, "VERIZON COMMUNICATIONS INC", _TELEPHONES),
)
_FUNDS = (
    ("SPY", 756733, "78462F103", "ARCA", 620, "SS SPDR S&P 500 ETF TRUST-US"),
    ("QQQ", 320227571, "46090E103", "NASDAQ", 550, "INVESCO QQQ TRUST SERIES 1"),
    ("IWM", 9579970, "464287655", "ARCA", 220, "ISHARES RUSSELL 2000 ETF"),
    ("DIA", 73128548, "78467X109", "ARCA", 450, "SS SPDR DJIA ETF TRUST"),
    ("VOO", 136155102, "922908363", "ARCA", 570, "VANGUARD S&P 500 ETF"),
    ("VTI", 0, "922908769", "ARCA", 310, "VANGUARD TOTAL STOCK MKT ETF"),
    ("EEM", 0, "464287234", "ARCA", 50, "ISHARES MSCI EMERGING MARKET"),
    ("EFA", 0, "464287465", "ARCA", 92, "ISHARES MSCI EAFE ETF"),
    ("TLT", 15547841, "464287432", "NASDAQ", 88, "ISHARES 20+ YEAR TREASURY BD"),
    ("HYG", 43652089, "464288513", "ARCA", 81, "ISHARES IBOXX HIGH YLD CORP"),
    ("GLD", 51529211, "78463V107", "ARCA", 310, "SPDR GOLD SHARES"),
    ("SLV", 39039301, "46428Q109", "ARCA", 34, "ISHARES SILVER TRUST"),
    ("XLF", 4215220, "81369Y605", "ARCA", 53, "SS FIN SEL SECTOR SPDR ETF"),
    ("XLE", 4215217, "81369Y506", "ARCA", 88, "SS ENERGY SEL SECTOR SPDR ETF"),
    ("XLK", 4215230, "81369Y803", "ARCA", 260, "SS TECH SEL SECTOR SPDR ETF"),
)
# Symbol, currency, conId, ISIN, listed on, price, tick, name, trade.
_FOREIGN = (
    ("SAP", "EUR", 14204, "DE0007164600", "IBIS", 250, 0.01, "SAP SE", _SOFTWARE),
    ("SIE", "EUR", 0, "DE0007236101", "IBIS", 220, 0.01, "SIEMENS AG-REG", _MACHINES),
    ("ALV", "EUR", 0, "DE0008404005", "IBIS", 350, 0.01, "ALLIANZ SE-REG", _BANKS),
    ("BMW", "EUR", 0, "DE0005190003", "IBIS", 85, 0.01, "BAYERISCHE MOTOREN WERKE AG", _CARS),
    ("ASML", "EUR", 0, "NL0010273215", "AEB", 650, 0.1, "ASML HOLDING NV", _CHIPS),
    ("MC", "EUR", 0, "FR0000121014", "SBF", 500, 0.1, "LVMH MOET HENNESSY LOUIS VUI", _RETAIL),
    ("VOD", "GBP", 0, "GB00BH4HKS39", "LSE", 0.85, 0.01, "VODAFONE GROUP PLC", _TELEPHONES),
    ("HSBA", "GBP", 0, "GB0005405286", "LSE", 9.4, 0.01, "HSBC HOLDINGS PLC", _BANKS),
    ("NESN", "CHF", 0, "CH0038863350", "EBS", 78, 0.01, "NESTLE SA-REG", _FOOD),
    ("7203", "JPY", 0, "JP3633400001", "TSEJ", 2700, 1.0, "TOYOTA MOTOR CORP", _CARS),
    ("700", "HKD", 0, "KYG875721634", "SEHK", 560, 0.1, "TENCENT HOLDINGS LTD", _INTERNET),
    ("RY", "CAD", 0, "CA7800871021", "TSE", 185, 0.01, "ROYAL BANK OF CANADA", _BANKS),
    ("BHP", "AUD", 0, "AU000000BHP4", "ASX", 40, 0.01, "BHP GROUP LTD", _MINES),
    ("000660", "KRW", 17382246, "KR7000660001", "KRX", 200_000, 1.0, "SK HYNIX INC", _CHIPS),
)

_OTHERS: dict[Key, Known] = {
    ("IND", "SPX", "USD"): Known(416904, "S&P 500 Stock Index", "CBOE", 6200),
    ("IND", "NDX", "USD"): Known(416843, "NASDAQ 100 Stock Index", "NASDAQ", 22500),
    ("IND", "VIX", "USD"): Known(13455763, "CBOE Volatility Index", "CBOE", 17),
    ("IND", "RUT", "USD"): Known(416888, "Russell 2000 Stock Index", "RUSSELL", 2200),
    ("IND", "INDU", "USD"): Known(0, "Dow Jones Industrial Average", "CME", 44000),
    ("IND", "DAX", "EUR"): Known(825711, "DAX 40 Index (Deutsche Aktien Xchange 40)", "EUREX", 24000),
    ("IND", "ESTX50", "EUR"): Known(4356500, "Dow Jones Euro STOXX50", "EUREX", 5400),
    ("FUT", "ES", "USD"): Known(0, "E-mini S&P 500", "CME", 6200, 0.25, "50"),
    ("FUT", "MES", "USD"): Known(0, "Micro E-Mini S&P 500 Stock Price Index", "CME", 6200, 0.25, "5"),
    ("FUT", "NQ", "USD"): Known(0, "E-mini NASDAQ 100", "CME", 22500, 0.25, "20"),
    ("FUT", "MNQ", "USD"): Known(0, "Micro E-Mini Nasdaq-100 Index", "CME", 22500, 0.25, "2"),
    ("FUT", "YM", "USD"): Known(0, "Mini Sized Dow Jones Industrial Average $5", "CBOT", 44000, 1, "5"),
    ("FUT", "RTY", "USD"): Known(0, "E-Mini Russell 2000 Index", "CME", 2200, 0.1, "50"),
    ("FUT", "EUR", "USD"): Known(0, "European Monetary Union Euro", "CME", 1.14, 0.00005, "125000"),
    ("FUT", "CL", "USD"): Known(0, "Light Sweet Crude Oil", "NYMEX", 68, 0.01, "1000"),
    ("FUT", "NG", "USD"): Known(0, "Henry Hub Natural Gas", "NYMEX", 3.5, 0.001, "10000"),
    ("FUT", "GC", "USD"): Known(0, "Gold", "COMEX", 3300, 0.1, "100"),
    ("FUT", "SI", "USD"): Known(0, "Silver", "COMEX", 36, 0.005, "5000"),
    ("FUT", "ZN", "USD"): Known(0, "10 Year US Treasury Note", "CBOT", 111, 0.015625, "1000"),
    ("FUT", "ZC", "USD"): Known(0, "Corn Futures", "CBOT", 430, 0.25, "50"),
    ("FUT", "DAX", "EUR"): Known(0, "DAX 40 Index (Deutsche Aktien Xchange 40)", "EUREX", 24000, 1, "25"),
    ("FUT", "ESTX50", "EUR"): Known(0, "Dow Jones Euro STOXX50", "EUREX", 5400, 1, "10"),
    ("CASH", "EUR", "USD"): Known(12087792, "European Monetary Union Euro", "IDEALPRO", 1.14),
    ("CASH", "GBP", "USD"): Known(12087797, "British pound", "IDEALPRO", 1.34),
    ("CASH", "AUD", "USD"): Known(14433401, "Australian dollar", "IDEALPRO", 0.65),
    ("CASH", "NZD", "USD"): Known(39453441, "New Zealand dollar", "IDEALPRO", 0.59),
    ("CASH", "USD", "JPY"): Known(15016059, "United States dollar", "IDEALPRO", 147, 0.005),
    ("CASH", "USD", "CHF"): Known(12087820, "United States dollar", "IDEALPRO", 0.81),
    ("CASH", "USD", "CAD"): Known(15016062, "United States dollar", "IDEALPRO", 1.37),
    ("CASH", "USD", "HKD"): Known(0, "United States dollar", "IDEALPRO", 7.8),
    ("CASH", "USD", "SEK"): Known(0, "United States dollar", "IDEALPRO", 9.6),
    ("CASH", "USD", "NOK"): Known(0, "United States dollar", "IDEALPRO", 10.1),
    ("CASH", "USD", "CNH"): Known(0, "United States dollar", "IDEALPRO", 7.18),
    ("CASH", "USD", "KRW"): Known(0, "United States dollar", "IDEALPRO", 1380),
    ("CASH", "EUR", "GBP"): Known(12087807, "European Monetary Union Euro", "IDEALPRO", 0.85),
    ("CASH", "EUR", "JPY"): Known(14321016, "European Monetary Union Euro", "IDEALPRO", 168, 0.005),
    ("CASH", "EUR", "CHF"): Known(0, "European Monetary Union Euro", "IDEALPRO", 0.94),
    ("CASH", "GBP", "JPY"): Known(0, "British pound", "IDEALPRO", 197, 0.005),
    ("CRYPTO", "BTC", "USD"): Known(479624278, "Bitcoin cryptocurrency", "PAXOS", 105000, 0.25),
    ("CRYPTO", "ETH", "USD"): Known(495759171, "Ethereum cryptocurrency", "PAXOS", 2800, 0.01),
    ("CRYPTO", "LTC", "USD"): Known(498989715, "Litecoin cryptocurrency", "PAXOS", 90, 0.01),
    ("CRYPTO", "BCH", "USD"): Known(498989721, "Bitcoin Cash cryptocurrency", "PAXOS", 480, 0.05),
    ("CMDTY", "XAUUSD", "USD"): Known(69067924, "London Gold", "SMART", 3300, 0.01),
    ("CMDTY", "XAGUSD", "USD"): Known(0, "London Silver", "SMART", 36, 0.01),
    ("CFD", "IBUS500", "USD"): Known(111987407, "US 500", "SMART", 6200, 0.01),
    ("CFD", "IBDE40", "EUR"): Known(0, "Germany 40", "SMART", 24000, 0.01),
    ("BOND", "AAPL", "USD"): Known(127128131, "AAPL 3.85 05/04/43", "SMART", 88, 0.0001, "", "037833AL4", _COMPUTERS),
    ("BOND", "IBM", "USD"): Known(0, "IBM 4.15 05/15/39", "SMART", 90, 0.001, "", "459200JY8", _COMPUTERS),
    ("BOND", "T", "USD"): Known(0, "T 4.35 03/01/29", "SMART", 99, 0.001, "", "00206RHJ4", _TELEPHONES),
    ("BOND", "US-T", "USD"): Known(0, "T 4 1/4 05/15/35", "SMART", 99, 0.001, "", "91282CNC1"),
    ("BILL", "US-T", "USD"): Known(0, "B 0 06/11/26", "SMART", 98, 0.001, "", "912797QX8"),
    ("FUND", "VTSAX", "USD"): Known(
        48013650, "Vanguard Total Stock Market Index Fund Admiral Shares", "FUNDSERV", 140, 0.01, "", "922908728"
    ),
    ("FUND", "VFIAX", "USD"): Known(
        0, "Vanguard 500 Index Fund Admiral Shares", "FUNDSERV", 570, 0.01, "", "922908710"
    ),
}


def _listed() -> Iterator[tuple[Key, Known]]:
    for symbol, con_id, number, primary, price, name, trade in _AMERICAN:
        yield ("STK", symbol, "USD"), Known(con_id, name, primary, price, number=number, trade=trade)
    for symbol, con_id, number, primary, price, name in _FUNDS:
        known = Known(con_id, name, primary, price, number=number, trade=_SHARES, fund=True)
        yield ("STK", symbol, "USD"), known
    for symbol, currency, con_id, number, primary, level, tick, name, trade in _FOREIGN:
        yield ("STK", symbol, currency), Known(con_id, name, primary, level, tick, number=number, trade=trade)


KNOWN: dict[Key, Known] = dict(_listed()) | _OTHERS
"""Listed names."""
