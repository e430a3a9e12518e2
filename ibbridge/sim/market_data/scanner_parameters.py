"""XML document of reqScannerParameters: everything that a scanner can be asked, in IB's structure.

The document is made of the same tables as the responses, so that every entry works.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ibbridge.sim.market_data.scanner_codes import FILTERS, INSTRUMENTS, LOCATIONS, SCANS, InstrumentType, ScanCode

if TYPE_CHECKING:
    from ibbridge.sim.market_data.scanner_codes import Filter

_COLUMNS = {
    0: ("Symbol", "m_nSymbol"), 73: ("Last", "m_nLastPrice"), 77: ("Change", "m_nChange"), 78: ("Change %", "m_nChPct"),
    82: ("Volume", "m_nVolume"), 84: ("Bid", "m_nBid"), 86: ("Ask", "m_nAsk"), 70: ("High", "m_nHigh"),
    71: ("Low", "m_nLow"), 7281: ("Category", "m_nCat"), 7283: ("Imp. Vol.", "m_nImpVol"),
    7289: ("Mkt Cap", "m_nMktCap"),
}  # fmt: skip


@cache
def document() -> str:
    """Return the whole document: some hundred kilobytes, where IB sends one or two million bytes."""
    root = Element("ScanParameterResponse")
    kinds = SubElement(root, "InstrumentList", varName="instrumentList")
    for code, kind in INSTRUMENTS.items():
        _instrument(kinds, code, kind)
    _locations(SubElement(root, "LocationTree", varName="locationTree"), "")
    scans = SubElement(root, "ScanTypeList", varName="scanTypeList")
    for code, scan in SCANS.items():
        _scan(scans, code, scan)
    settings = SubElement(root, "SettingList", varName="settingList")
    _texts(SubElement(settings, "Setting"), code="maxRows", displayName="Maximum number of rows", value="50")
    for code, kind in INSTRUMENTS.items():
        filters = SubElement(root, "FilterList", varName="filterList")
        _texts(filters, instrument=code)
        for filter_code in kind.filters:
            _filter(filters, filter_code, FILTERS[filter_code])
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _texts(parent: Element, **texts: str) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = text


def _instrument(parent: Element, code: str, kind: InstrumentType) -> None:
    _texts(
        SubElement(parent, "Instrument"),
        name=kind.name,
        type=code,
        secType=kind.sec_types[0],
        filters=",".join(kind.filters),
        group=f"{kind.sec_types[0]}.GLOBAL",
        shortName=code,
        cloudScanNotSupported="false",
        featureCodes="",
    )


def _locations(parent: Element, within: str) -> None:
    for code, place in LOCATIONS.items():
        if place.parent == within:
            location = SubElement(parent, "Location")
            _texts(
                location,
                displayName=place.name,
                locationCode=code,
                instruments=",".join(place.instruments),
                routeExchange="SMART",
                delayedOnly="false",
                rawPriceOnly="false",
                access="unrestricted",
            )
            _locations(SubElement(location, "LocationTree", varName="locationTree"), code)


def _scan(parent: Element, code: str, scan: ScanCode) -> None:
    kind = SubElement(parent, "ScanType")
    instruments = [name for name, group in INSTRUMENTS.items() if set(group.sec_types) & set(scan.sec_types)]
    _texts(
        kind,
        displayName=scan.name,
        scanCode=code,
        instruments=",".join(instruments),
        absoluteColumns="false",
        supportsSorting="true",
        respSizeLimit="2147483647",
        snapshotSizeLimit="2147483647",
        searchDefault="false",
        access="unrestricted",
        settings="maxRows",
        vendor="ALL",
        reuters="false",
    )
    columns = SubElement(kind, "Columns", varName="columns")
    for number, (name, variable) in _COLUMNS.items():
        _texts(
            SubElement(columns, "Column"),
            colId=str(number),
            name=name,
            display="true",
            displayType="DATA",
            section=variable,
        )


def _filter(parent: Element, code: str, bound: Filter) -> None:
    outer = SubElement(parent, "SimpleFilter")
    _texts(outer, id=code, category="Price and Volume", histogram="true", access="unrestricted", skipValidation="false")
    _texts(
        SubElement(outer, "AbstractField", type="scanner.filter.DoubleField", varName="abstractField"),
        code=code,
        displayName=bound.name,
        tooltip=f"{bound.name} the value entered",
        varName="abstractField",
        dontAllowClearAll="false",
        abbrev=bound.name,
        acceptNegatives="true",
        dontAllowNegative="false",
        skipNotEditableField="true",
        master="true",
        narrowField="false",
        radioButtons="false",
        fraction="false",
    )
