"""Typed clients of the stack's services: one file a service, plain HTTP, errors as `wire.errors`."""
