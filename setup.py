"""The one thing that setup.cfg cannot say: a module that is compiled, or left out where that cannot be done."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("ibbridge.codec._packer", ["ibbridge/codec/_packer.pyx"], optional=True),
        Extension("ibbridge._press", ["ibbridge/_press.pyx"], optional=True),
    ]
)
