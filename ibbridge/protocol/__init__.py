"""The contract of the bus as code: topics, instrument keys, arguments of commands, and refusal codes.

The daemon, the client library and the documentation read this contract.
The package must not know who publishes a message, or who sends a command.
"""
