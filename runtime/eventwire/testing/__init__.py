"""For tests: the conformance suite of transports."""
