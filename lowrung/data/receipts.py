"""Lines as they are printed: pieces of sentences, headings in capitals, and what receipts and forms hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

LONGEST = 60  # letters of a line
CURRENCIES = ("RM", "$", "£", "€", "USD", "EUR", "RM ", "$ ", "MYR ", "S$")
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
WORDS = (
    "TOTAL;SUB TOTAL;SUBTOTAL;CASH;CHANGE;TAX;GST;VAT;TAX INVOICE;INVOICE NO;RECEIPT;RECEIPT NO;DATE;TIME;QTY;PRICE;"
    "AMOUNT;AMT;ITEM;ITEMS;DESCRIPTION;DISCOUNT;ROUNDING;ROUNDING ADJ;BALANCE;BALANCE DUE;CASHIER;TABLE;ORDER;TEL;FAX;"
    "BILL NO;TOTAL AMOUNT;TOTAL QTY;TOTAL DUE;GRAND TOTAL;NET TOTAL;GST ID;REG NO;COMPANY NO;DOC NO;CUSTOMER;MEMBER;"
    "CARD NO;VISA CARD;MASTERCARD;PAID;PAYMENT;THANK YOU;THANK YOU, PLEASE COME AGAIN;PLEASE COME AGAIN;UNIT PRICE;"
    "SALES;SERVICE CHARGE;SVC CHG;INCL. GST;EXCL. GST;INCLUSIVE OF TAX;TAX SUMMARY;RATE;CODE;COUNTER;TERMINAL;PCS;KG;"
    "GOODS SOLD ARE NOT RETURNABLE;PAGE;NO;REF;STAFF;SHIFT;SAVINGS;COUPON;DEPOSIT;REFUND;EXCHANGE WITHIN 7 DAYS"
).split(";")
CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MARKS = ("", "", ":", " :", ": ", ".", " -", "#", "=")


def line(text: str, random: Random, *, receipts: float = 0.3) -> str:
    """A line such as is printed, of words of `text` or of what stands on receipts; "" where the text has no word.

    Args:
        receipts: the share of lines that are what stands on receipts.
    """
    words = text.split()
    if random.random() < receipts:
        return receipt_line(words, random)
    found = cut(words, random)
    kind = random.random()
    return found.upper() if kind < 0.25 else found.title() if kind < 0.32 else found


def cut(words: Sequence[str], random: Random) -> str:
    """Some of the words that follow each other, of at most `LONGEST` letters together; a longer word is cut."""
    if not words:
        return ""
    wanted = random.randint(1, LONGEST)
    begin = random.randrange(len(words)) if random.random() < 0.7 else 0
    found = words[begin][:LONGEST]
    for each in words[begin + 1 :]:
        if len(found) + 1 + len(each) > wanted:
            break
        found = f"{found} {each}"
    return found


def receipt_line(words: Sequence[str], random: Random) -> str:
    """Prices, dates, times, numbers, codes, totals, things with prices, addresses."""
    made = random.choices(KINDS, SHARES)[0]
    found = " ".join(made(words, random).split())
    return (found if random.random() < 0.7 else found.upper() if random.random() < 0.6 else found.title())[:LONGEST]


def price(_: Sequence[str], random: Random) -> str:
    whole = int(10 ** random.uniform(0, 3.3)) - 1
    found = f"{whole:,}.{random.choice(('00', '50', '90', f'{random.randrange(100):02}'))}"
    if random.random() < 0.3:
        found = random.choice(CURRENCIES) + found
    kind = random.random()
    return f"-{found}" if kind < 0.06 else f"({found})" if kind < 0.08 else f"{found}%" if kind < 0.1 else found


def date(_: Sequence[str], random: Random) -> str:
    day, month, year = random.randint(1, 31), random.randint(1, 12), random.randint(1995, 2030)
    mark = random.choice("//-.")
    kind = random.random()
    if kind < 0.25:
        found = f"{day} {random.choice((MONTHS[month - 1], MONTHS[month - 1].upper()))} {year}"
    elif kind < 0.4:
        found = f"{year}{mark}{month:02}{mark}{day:02}"
    else:
        found = f"{day:02}{mark}{month:02}{mark}{year if random.random() < 0.7 else f'{year % 100:02}'}"
    return f"{found} {clock(_, random)}" if random.random() < 0.3 else found


def clock(_: Sequence[str], random: Random) -> str:
    hours, minutes, seconds = random.randrange(24), random.randrange(60), random.randrange(60)
    found = f"{hours:02}:{minutes:02}" + (f":{seconds:02}" if random.random() < 0.5 else "")
    return f"{found} {random.choice(('AM', 'PM', 'am', 'pm'))}" if random.random() < 0.3 else found


def number(_: Sequence[str], random: Random) -> str:
    found = str(random.randrange(10 ** random.randint(1, 4)))
    kind = random.random()
    if kind < 0.15:
        return f"{found} {random.choice('Xx@')}"
    if kind < 0.2:
        return f"{found}%"
    return f"{found}." if kind < 0.25 else f"#{found}" if kind < 0.28 else found


def telephone(_: Sequence[str], random: Random) -> str:
    digits = "".join(random.choices("0123456789", k=random.randint(6, 10)))
    cut_at = random.randint(2, 4)
    found = f"{digits[:cut_at]}{random.choice(('-', ' ', '', '-'))}{digits[cut_at:]}"
    head = random.choice(("", "", "TEL : ", "Tel: ", "TEL:", "FAX : ", "H/P: ", "+"))
    return head + found


def code(_: Sequence[str], random: Random) -> str:
    parts = ["".join(random.choices(CODES, k=random.randint(1, 7))) for _ in range(random.randint(1, 3))]
    if random.random() < 0.6:
        parts = ["".join(random.choices("0123456789", k=random.randint(1, 9))) for _ in parts]
        parts[0] = "".join(random.choices(CODES[:26], k=random.randint(0, 3))) + parts[0]
    found = random.choice(("-", "/", " ", "")).join(parts)
    return f"({found})" if random.random() < 0.15 else f"*{found}*" if random.random() < 0.03 else found


def label(_: Sequence[str], random: Random) -> str:
    found = random.choice(WORDS)
    if random.random() < 0.15:
        found = f"{found} {random.choice(('(RM)', '($)', '(GST)', '@ 6%', '6%', '(INCL)', 'NO.', '& CO'))}"
    found += random.choice(MARKS)
    if random.random() < 0.1:
        stars = "*" * random.randint(1, 5)
        found = f"{stars} {found} {stars}"
    return found


def labelled(words: Sequence[str], random: Random) -> str:
    value = random.choice((price, price, date, clock, number, code))(words, random)
    return f"{label(words, random)} {value}"


def thing(words: Sequence[str], random: Random) -> str:
    named = cut([each.strip(".,;:!?\"'()") for each in words], random)[:28]
    named = named.upper() if random.random() < 0.7 else named.title()
    kind = random.random()
    if kind < 0.25:
        named = f"{random.randint(1, 12)}{random.choice((' ', ' X ', 'x ', '. '))}{named}"
    elif kind < 0.45:
        named = (
            f"{named} {random.choice((25, 50, 100, 250, 330, 500))}{random.choice(('G', 'ML', 'g', 'ml', 'KG', 'S'))}"
        )
    elif kind < 0.55:
        named = f"{named} ({random.choice(CODES[:26])})"
    return f"{named} {price(words, random)}" if random.random() < 0.3 else named


def address(words: Sequence[str], random: Random) -> str:
    street = cut([each.strip(".,;:!?\"'()") for each in words], random)[:24]
    head = f"{random.choice(('NO', 'NO.', 'LOT', 'No.', 'Lot', 'UNIT', 'BLOCK'))} {random.randint(1, 300)}"
    parts = [head, random.choice((street, street.title(), street.upper()))]
    if random.random() < 0.4:
        parts.append(str(random.randint(10_000, 99_999)))
    random.shuffle(parts)
    return ", ".join(parts) + random.choice((",", ".", ""))


KINDS: tuple[Callable[[Sequence[str], Random], str], ...] = (
    price,
    date,
    clock,
    number,
    telephone,
    code,
    label,
    labelled,
    thing,
    address,
)
SHARES = (20, 8, 4, 10, 5, 12, 18, 10, 16, 6)
