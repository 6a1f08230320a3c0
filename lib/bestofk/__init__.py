"""Sample k answers, let a judge score them, keep one by softmax at temperature T.

One module a chapter of the book. Importing this package needs numpy and scipy
alone; modules that need more import it where they use it.
"""

__version__ = "0.1.0"
