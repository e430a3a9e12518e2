"""The one thing that setup.cfg cannot say: modules that are compiled, or left out where that cannot be done."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("ibbridge.codec._speedups", ["ibbridge/codec/_speedups.pyx"], optional=True),
        Extension(
            "ibbridge.streams._sequencer",
            ["ibbridge/streams/sequencer.py"],
            depends=["ibbridge/streams/_sequencer.pxd", "ibbridge/streams/envelope.pxd"],
            optional=True,
        ),
        Extension("ibbridge.zeromq._zmq_send", ["ibbridge/zeromq/_zmq_send.pyx"], optional=True),
    ]
)
