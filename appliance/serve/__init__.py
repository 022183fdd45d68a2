"""WSGI applications, run by waitress."""
