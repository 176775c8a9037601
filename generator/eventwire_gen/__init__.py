"""The generator: `.proto` files with topics in, typed publishers and handlers out."""
