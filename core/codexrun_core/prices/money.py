"""How an amount of money is written: the same digits in a status, on the command line and in the
console. Pure."""


def money(micro_usd: int) -> str:
    """Format millionths of a US dollar: `$0.0042`, `$3.18`, `$1,250.00`.

    Rounded up, so that something never reads as nothing: to hundredths of a cent below one dollar,
    to cents from there on.
    """
    if micro_usd == 0:
        return "$0.00"
    hundredths_of_a_cent = -(-micro_usd // 100)
    if hundredths_of_a_cent < 10_000:
        return f"$0.{hundredths_of_a_cent:04}"
    return cents(-(-micro_usd // 10_000))


def cents(number: int) -> str:
    """Format US cents: `$1.00`."""
    return f"${number // 100:,}.{number % 100:02}"
