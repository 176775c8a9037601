"""The vocabulary of eventwire/v1/options.proto; the folder must equal the Protobuf package."""
