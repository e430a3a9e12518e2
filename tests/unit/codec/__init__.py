"""Tests of the codec. Whatever is declared is tested by being declared: the cases come from the declarations."""
