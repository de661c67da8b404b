"""How the sandbox's Marketo behaves, as a test sets it."""

from dataclasses import dataclass

AT_LEAST_ONE = ("token_seconds", "calls_per_window", "window_milliseconds", "concurrent_calls", "most_imports")


@dataclass(frozen=True)
class MarketoSettings:
    """Of what happens every so often or after so many, 0 is never; of what is looked for, an empty text is nothing."""

    token_seconds: int = 3600
    session_calls: int = 0
    calls_per_window: int = 100
    window_milliseconds: int = 20_000
    concurrent_calls: int = 10
    calls_per_day: int = 50_000
    enforce: bool = True
    latency_milliseconds: int = 0
    error_every: int = 0
    error_code: str = "606"
    error_message: str = "Max rate limit '100' exceeded with in '20' secs"
    error_path: str = ""
    quota_after: int = 0
    skip_email: str = ""
    fail_field_under: str = "reasons"
    import_polls: int = 1
    most_imports: int = 10
    fail_row_every: int = 0
    warn_row_every: int = 0
    failed_import: str = ""
    export_polls: int = 1
    completed_word: str = "Completed"
    canceled_word: str = "Canceled"
    export_bytes_per_day: int = 500_000_000
    nul_in_rows: bool = False
    cr_in_rows: bool = False
    wrong_checksums: int = 0
    cut_files: int = 0
    range_ignored: bool = False

    def __post_init__(self) -> None:
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is a whole number from 1")
        if self.fail_field_under not in ("reasons", "errors"):
            raise ValueError("fail_field_under is reasons or errors")
        if self.completed_word not in ("Complete", "Completed"):
            raise ValueError("completed_word is Complete or Completed")
        if self.canceled_word not in ("Canceled", "Cancelled"):
            raise ValueError("canceled_word is Canceled or Cancelled")
