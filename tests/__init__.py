"""Tests of ibbridge; their names are sentences."""
