"""All settings, by meaning; `load_settings` reads them once. Import them from here."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.settings.exchange import BinanceSettings
    from alphamill.settings.load import (
        ENVIRONMENT,
        LOCAL_REDIS,
        REDIS_ENDPOINT_FILE,
        LedgerSettings,
        Settings,
        load_settings,
    )
    from alphamill.settings.models import (
        KEY_VARIABLE,
        BudgetSettings,
        Endpoint,
        LLMSettings,
        ModelSettings,
        PeakPrice,
        Price,
        Tier,
        TierSettings,
        TrainingCutoff,
        could_be_key,
    )
    from alphamill.settings.research import (
        FeeSettings,
        PortfolioSettings,
        SearchSettings,
        SegmentSettings,
    )

__all__ = [
    "ENVIRONMENT",
    "KEY_VARIABLE",
    "LOCAL_REDIS",
    "REDIS_ENDPOINT_FILE",
    "BinanceSettings",
    "BudgetSettings",
    "Endpoint",
    "FeeSettings",
    "LLMSettings",
    "LedgerSettings",
    "ModelSettings",
    "PeakPrice",
    "PortfolioSettings",
    "Price",
    "SearchSettings",
    "SegmentSettings",
    "Settings",
    "Tier",
    "TierSettings",
    "TrainingCutoff",
    "could_be_key",
    "load_settings",
]

export_on_demand(__name__)
