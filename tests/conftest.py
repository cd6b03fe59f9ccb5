"""Here so that pytest puts tests/ on the path: modules beside this one are shared by the folders below."""
