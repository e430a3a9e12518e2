"""XML document of reqScannerParameters: everything that a scanner can be asked, in IB's structure.

The document is made of the same tables as the responses, so that every entry works.
"""

from __future__ import annotations

from functools import cache
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ibbridge.sim.data_files import table
from ibbridge.sim.market_data.scanner_codes import FILTERS, INSTRUMENTS, LOCATIONS, SCANS

_TABLES = table("market_data/scanner.yaml")


@cache
def document() -> str:
    """Return the whole document: some hundred kilobytes, where IB sends one or two million bytes."""
    root = Element("ScanParameterResponse")
    _instruments(SubElement(root, "InstrumentList", varName="instrumentList"))
    _locations(SubElement(root, "LocationTree", varName="locationTree"), "")
    _scans(SubElement(root, "ScanTypeList", varName="scanTypeList"))
    _fill(SubElement(SubElement(root, "SettingList", varName="settingList"), "Setting"), "setting")
    for code, kind in INSTRUMENTS.items():
        filters = SubElement(root, "FilterList", varName="filterList")
        SubElement(filters, "instrument").text = code
        for each in kind.filters:
            _filter(filters, each)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _fill(parent: Element, kind: str, **values: object) -> Element:
    """Add the elements of this kind of entry, which the data file lists with their texts. Return the parent."""
    for name, text in _TABLES["document"][kind].items():
        SubElement(parent, name).text = text.format(**values)
    return parent


def _instruments(parent: Element) -> None:
    for code, kind in INSTRUMENTS.items():
        entry, filters = SubElement(parent, "Instrument"), ",".join(kind.filters)
        _fill(entry, "instrument", code=code, name=kind.name, sec_type=kind.sec_types[0], filters=filters)


def _locations(parent: Element, within: str) -> None:
    for code, place in LOCATIONS.items():
        if place.parent == within:
            entry, instruments = SubElement(parent, "Location"), ",".join(place.instruments)
            _fill(entry, "location", code=code, name=place.name, instruments=instruments)
            _locations(SubElement(entry, "LocationTree", varName="locationTree"), code)


def _scans(parent: Element) -> None:
    for code, scan in SCANS.items():
        fitting = [name for name, group in INSTRUMENTS.items() if set(group.sec_types) & set(scan.sec_types)]
        entry = SubElement(parent, "ScanType")
        _fill(entry, "scan", code=code, name=scan.name, instruments=",".join(fitting))
        columns = SubElement(entry, "Columns", varName="columns")
        for number, name, section in _TABLES["columns"]:
            _fill(SubElement(columns, "Column"), "column", number=number, name=name, section=section)


def _filter(parent: Element, code: str) -> None:
    entry, name = _fill(SubElement(parent, "SimpleFilter"), "filter", code=code), FILTERS[code].name
    field = SubElement(entry, "AbstractField", type="scanner.filter.DoubleField", varName="abstractField")
    _fill(field, "field", code=code, name=name)
