"""The wire formats: how an event is laid out in a broker's message, and told apart again."""
