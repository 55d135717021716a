import subprocess
import sys


def test_search_loads_no_tensorflow_and_exact_search_no_extra():
    code = (
        "import sys\n"
        "for name in ('faiss', 'bm25s', 'pandas', 'tensorflow', 'keras', 'sklearn', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "import tfllm\n"
        "index = tfllm.SearchIndex(lambda texts: [[len(text), 1.0] for text in texts])\n"
        "index.add(['a', 'bbbb'])\n"
        "print(index.search('cccc', k=1))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[Hit(id='1', score=1.0000, text='bbbb')]\n", done.stderr
