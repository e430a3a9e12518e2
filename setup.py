"""The one thing that setup.cfg cannot say: modules that are compiled, or left out where that cannot be done."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("ibbridge.codec._packer", ["ibbridge/codec/_packer.pyx"], optional=True),
        Extension("ibbridge._press", ["ibbridge/_press.pyx"], optional=True),
        Extension("ibbridge._outbox", ["ibbridge/_outbox.pyx"], optional=True),
    ]
)
