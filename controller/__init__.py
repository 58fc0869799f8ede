"""The controller: keeps exactly one pod running for each enabled row of `trading_bots`."""
