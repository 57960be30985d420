"""Mine alpha factors from Binance market data with LLMs; the library behind the workers."""

__version__ = "0.1.0"
