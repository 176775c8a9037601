"""From folders of ``.proto`` files to a folder of Python modules, with no protoc but the one in grpcio-tools."""
