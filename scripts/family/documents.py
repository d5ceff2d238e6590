#!/usr/bin/python3
"""Makes the documents of the family: passport pages, certificates, CV, petition side.

Usage: documents.py OUT_DIR

Real tools do the work: ImageMagick draws the passport page as a scanner would deliver it,
ReportLab writes the PDF, groff sets the certificates, pandoc writes the DOCX files.

The text layer of a passport PDF is what "searchable PDF" scanners add: the two MRZ lines as
invisible text (rendering mode 3) over the picture, in an uncompressed content stream. It is
written here from the same string that is drawn into the picture; no OCR took place.
"""

import io
import pathlib
import subprocess
import sys
import tomllib

from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

HERE = pathlib.Path(__file__).parent
MONO = "Courier"
CONVERT = "/usr/bin/convert"  # ImageMagick of Debian
OCR_B = "/usr/share/fonts/opentype/ocr-b/OCRB.otf"


def check_digit(text):
    """ICAO Doc 9303 part 3: weights 7, 3, 1, modulo 10."""
    values = [0 if c == "<" else int(c, 36) for c in text]
    return str(sum(v * (7, 3, 1)[i % 3] for i, v in enumerate(values)) % 10)


def israeli_id_is_right(text):
    """Weights 1, 2 from the left, digit sums, modulo 10."""
    total = 0
    for i, c in enumerate(text.zfill(9)):
        v = int(c) * (1 + i % 2)
        total += v - 9 if v > 9 else v
    return total % 10 == 0


def mrz(p):
    """The two lines of a TD3 machine readable zone."""
    name = f"{p['family_name'].upper().replace('-', '<')}<<{p['given_names'].upper()}"
    line1 = f"P<UTO{name}".ljust(44, "<")
    number = p["passport_number"].ljust(9, "<")
    born = p["birth_date"].strftime("%y%m%d")
    expires = p["passport_expiry"].strftime("%y%m%d")
    optional = p["national_id"].ljust(14, "<")
    n, b, e, o = (number + check_digit(number), born + check_digit(born),
                  expires + check_digit(expires), optional + check_digit(optional))
    composite = check_digit(n + b + e + o)
    line2 = f"{n}{p['nationality']}{b}{p['sex']}{e}{o}{composite}"
    assert len(line1) == len(line2) == 44, (line1, line2)
    return line1, line2


def passport(p, out):
    line1, line2 = mrz(p)
    image = out / f"{p['id']}-page.jpg"
    rows = [("Type", "P"), ("Code of state", "UTO"), ("Passport No.", p["passport_number"]),
            ("Surname", p["family_name"].upper()), ("Given names", p["given_names"].upper()),
            ("Nationality", "UTOPIAN"), ("Date of birth", f"{p['birth_date']:%d %b %Y}".upper()),
            ("Personal No.", p["national_id"]), ("Sex", p["sex"]),
            ("Date of expiry", f"{p['passport_expiry']:%d %b %Y}".upper())]
    args = [CONVERT, "-size", "1000x704", "xc:#e9eef2", "-seed", "9303",
            "-fill", "#d4dee6", "-draw", "roundrectangle 20,20 980,560 24,24",
            "-fill", "#b9c6d0", "-draw", "rectangle 50,120 310,470",
            "-fill", "#8fa2b0", "-draw", "circle 180,235 180,165",
            "-draw", "ellipse 180,470 105,150 180,360",
            "-font", "DejaVu-Sans-Bold", "-fill", "#23455c", "-pointsize", "34",
            "-annotate", "+50+80", "UTOPIA  PASSPORT", "-pointsize", "60",
            "-fill", "#c8333344", "-annotate", "-24x-24+380+520", "SPECIMEN"]
    for i, (label, value) in enumerate(rows):
        x, y = 350 + (i % 2) * 310, 130 + (i // 2) * 80
        args += ["-font", "DejaVu-Sans", "-fill", "#5b6f7c", "-pointsize", "15",
                 "-annotate", f"+{x}+{y}", label,
                 "-font", "DejaVu-Sans-Bold", "-fill", "#111820", "-pointsize", "24",
                 "-annotate", f"+{x}+{y + 30}", value]
    args += ["-font", OCR_B, "-fill", "#111111", "-pointsize", "24.2"]
    for i, line in enumerate((line1, line2)):
        args += ["-annotate", f"+40+{620 + i * 52}", line]
    args += ["-blur", "0x0.4", "-colorspace", "sRGB", "-sampling-factor", "4:2:0",
             "-quality", "42", "-strip", str(image)]
    subprocess.run(args, check=True)

    width, height = 125 * mm, 88 * mm  # ICAO Doc 9303 part 4: a TD3 page
    pdf = canvas.Canvas(str(out / f"{p['id']}-passport.pdf"), pagesize=(width, height),
                        invariant=1, pageCompression=0)
    pdf.setTitle("scan")
    pdf.setProducer("specimen scanner")
    # by content, not by path: ReportLab names the picture after what it is given
    pdf.drawImage(ImageReader(io.BytesIO(image.read_bytes())), 0, 0, width, height)
    for i, line in enumerate((line1, line2)):
        text = pdf.beginText(5 * mm, (10.5 - i * 6.5) * mm)
        text.setFont(MONO, 11)
        text.setTextRenderMode(3)
        text.textOut(line)
        pdf.drawText(text)
    pdf.showPage()
    pdf.save()
    return line1, line2


def certificate(name, title, lines, out):
    body = ".pl 14c\n.ps 20\n.vs 28\n.ft HB\n.ce 1\n" + title + "\n.sp 1\n.ft R\n.ps 12\n.vs 18\n"
    body += "".join(f"{line}\n.br\n" for line in lines)
    body += ".sp 1\n.ft I\n.ce 1\nSPECIMEN: invented, of no legal effect\n"
    done = subprocess.run(["groff", "-Tpdf", "-P-p14c,18c"], check=True, input=body.encode(),
                          capture_output=True)
    (out / name).write_bytes(done.stdout)


def docx(name, markdown, out):
    subprocess.run(["pandoc", "-f", "markdown", "-o", str(out / name)], check=True,
                   input=markdown.encode())


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    data = tomllib.loads((HERE / "people.toml").read_text())
    people = {p["id"]: p for p in data["person"] + data["stranger"]}
    for p in people.values():
        assert israeli_id_is_right(p["national_id"]), p["id"]
        passport(p, out)

    noam, dana, alma, ofir = (people[i] for i in ("noam", "dana", "alma", "ofir"))
    employer = data["employer"]

    def full(p):
        return f"{p['given_names']} {p['family_name']}"

    certificate("degree.pdf", "UNIVERSITY OF UTOPIA", [
        "The Senate confers upon", f"{full(noam)}, born {noam['birth_date']:%d %B %Y},",
        "the degree of BACHELOR OF SCIENCE in Computer Engineering,",
        "awarded on 28 June 2013."], out)
    certificate("marriage.pdf", "CERTIFICATE OF MARRIAGE", [
        "Registry of Utopia, entry 0000017.",
        f"{full(noam)}, born {noam['birth_date']:%d %B %Y}, and",
        f"{full(dana)}, born {dana['birth_date']:%d %B %Y},", "were married on 14 August 2014."], out)
    for child in (alma, ofir):
        certificate(f"{child['id']}-birth.pdf", "CERTIFICATE OF BIRTH", [
            f"Registry of Utopia, entry {child['national_id']}.",
            f"Child: {full(child)}, sex {child['sex']}, born {child['birth_date']:%d %B %Y}",
            f"Father: {full(noam)}", f"Mother: {full(dana)}"], out)
    certificate("lca.pdf", "LABOR CONDITION APPLICATION (ETA-9035)", [
        f"Case number: {employer['lca']}",
        f"Employer: {employer['name']}, FEIN {employer['fein']}",
        f"Job title: {employer['job_title']}, SOC {employer['soc']}",
        f"Wage offered: USD {employer['wage_usd_year']} a year",
        f"Place of employment: {employer['worksite']}",
        "Period: 1 October 2026 to 30 September 2029"], out)
    docx("cv.docx", f"""---
title: {full(noam)}
---

{noam['mail']}, {noam['phone']}

# Work

- 2019 to today: Robotics engineer, Muster Automation Ltd., Testville
- 2013 to 2019: Software engineer, Probe Systems Ltd., Testville

# Education

- B.Sc. Computer Engineering, University of Utopia, 2013
""", out)
    docx("support-letter.docx", f"""---
title: Letter in support of an H-1B petition
---

{employer['name']} offers {full(noam)} the position of {employer['job_title']}
at {employer['worksite']} with a salary of USD {employer['wage_usd_year']} a year, under
labor condition application {employer['lca']}.

{employer['contact']}, Human Resources
""", out)


main()
