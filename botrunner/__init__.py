"""One run of one bot: candles → orders → ledger."""

import sys
from types import ModuleType

# Backtrader imports TA-Lib, and with it pandas, wherever that is installed: 80 MB and a second for each bot. A strategy
# that wants TA-Lib imports `talib` itself.
sys.modules.setdefault("backtrader.talib", ModuleType("backtrader.talib"))
