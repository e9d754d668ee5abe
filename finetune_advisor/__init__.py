"""Should we fine-tune this language model? Evidence instead of opinion.

Importing this package loads neither torch nor streamlit.
"""

__version__ = "0.1.0"
