"""Certificates for tests: a root, a server's, a client's, and one that has expired."""

import datetime

import trustme


class Authority:
    """A root that signs certificates, as files."""

    def __init__(self, folder):
        self._root = trustme.CA()
        self._folder = folder
        self._number = 0
        self.root = self._root.cert_pem.bytes()
        self.root_file = str(self._write(self.root))

    def issue(self, *names, expired=False):
        """Return key and certificate as PEM."""
        options = {}
        if expired:
            options["not_after"] = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        issued = self._root.issue_cert(*(names or ("localhost", "127.0.0.1")), **options)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        return issued.private_key_pem.bytes(), chain

    def files(self, *names, **options):
        """Return the files of a key and its certificate."""
        return tuple(str(self._write(pem)) for pem in self.issue(*names, **options))

    def _write(self, pem):
        self._number += 1
        file = self._folder / f"{self._number}.pem"
        file.write_bytes(pem)
        return file
