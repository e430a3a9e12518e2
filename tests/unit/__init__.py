"""Tests of one module each, in folders named like the packages of ibbridge."""
