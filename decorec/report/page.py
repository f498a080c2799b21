"""The page as a template (Jinja, with autoescape); in a module, so that an edit counts as a change of the step."""

__all__ = ["PAGE"]

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/>
<link rel="icon" href="data:,"/>
<title>DeCoRec: results</title>
<style>
{{ style }}
*{box-sizing:border-box}
body{max-width:80rem;margin:0 auto;padding:1rem}
h1{line-height:1.15}h2{margin-top:3rem;border-bottom:1px solid #ccc;padding-bottom:.3rem}
a:focus-visible,[tabindex]:focus-visible{outline:3px solid #0072b2;outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{position:static}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;padding:0}
.block{margin:2rem 0;min-width:0}
thead th,th[scope=row]{white-space:normal}
th[scope=row]{min-width:7rem;max-width:32rem}
th[scope=row],thead th:first-child{position:sticky;left:0;background:#fff}
#table-claims th[scope=row]{min-width:min(20rem,42vw)}
td.words,thead th.words{text-align:left;white-space:normal}
{# Drawings have white grounds: multiplied, they leave the shadow of what scrolls to be seen. #}
figure.drawing{margin:2rem 0}figure.drawing svg{display:block;mix-blend-mode:multiply}
figcaption{margin-top:.5rem;max-width:60rem}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.5rem}
.columns>*{min-width:0}
.user{border:1px solid #ccc;border-radius:.5rem;padding:.3rem 1rem 1rem;margin:1.5rem 0}
.user h4{margin:.8rem 0 .3rem}.user h5{margin:1rem 0 .3rem;font-size:1rem}
ol.items{list-style:none;padding:0;margin:0;display:grid;gap:.5rem;
grid-template-columns:repeat(auto-fill,minmax(6rem,1fr))}
ol.items li{position:relative;border:1px solid #ddd;border-radius:.4rem;padding:.3rem;background:#fff;min-height:9.2rem}
ol.items li.hit{border:3px solid #00734d;padding:calc(.3rem - 2px)}
ol.items img,.none{display:block;width:100%;height:5rem;object-fit:contain}
.none{background:#f0f0f0;color:#555;font-size:.75rem;display:grid;place-items:center;text-align:center}
.title{font-size:.75rem;line-height:1.25;margin:.3rem 0 0;overflow:hidden;overflow-wrap:anywhere;
display:-webkit-box;-webkit-line-clamp:3;-webkit-box-orient:vertical}
.details{display:none;position:absolute;inset:0;overflow:auto;margin:0;padding:.35rem;font-size:.72rem;line-height:1.3;
background:#12202bf2;color:#fff;border-radius:.3rem;overflow-wrap:anywhere}
li:hover>.details,li:focus>.details{display:block}
.next{display:grid;grid-template-columns:minmax(0,7rem)}
@media(max-width:30rem){th,td{padding:.25rem .45rem}body{font-size:15px}}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>DeCoRec: results</h1>
<p>Everything on this page is computed by the workflow, results from one rank per user, run and seed. How each figure is
defined: docs/protocol.md.</p>
<nav aria-label="Sections"><ul>
<li><a href="#tables">Tables</a></li>
<li><a href="#figures">Figures</a></li>
<li><a href="#data">What was left out</a></li>
<li><a href="#gallery">Recommendations to some users</a></li>
</ul></nav>
</header>
<main id="content">

<section id="tables" aria-labelledby="tables-title">
<h2 id="tables-title">Tables</h2>
{% for name, table in tables.items() %}
<div class="block" id="table-{{ name }}">{{ table }}</div>
{% endfor %}
</section>

<section id="figures" aria-labelledby="figures-title">
<h2 id="figures-title">Figures</h2>
{% for name, (drawing, caption) in figures.items() %}
<figure class="drawing" id="{{ name }}">
<div class="scroll" role="img" tabindex="0" aria-label="{{ caption }}">{{ drawing }}</div>
<figcaption>{{ caption }}</figcaption>
</figure>
{% endfor %}
</section>

{% macro counts(caption, headings, rows) %}
<div class="scroll" role="region" tabindex="0" aria-label="{{ caption }}">
<table><caption><span>{{ caption }}</span></caption>
<thead><tr>
{% for heading in headings %}<th scope="col"{{ " class=words" if loop.index == 2 }}>{{ heading }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for first, second, count in rows %}
<tr><th scope="row">{{ first }}</th><td class="words">{{ second }}</td><td>{{ "{:,}".format(count) }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}

<section id="data" aria-labelledby="data-title">
<h2 id="data-title">What was left out</h2>
{% for dataset, loss in losses.items() %}
<h3>{{ dataset }}</h3>
<div class="columns">
{% if loss.dropped %}
{{ counts("Dropped, by step and reason", ("Step", "Reason", "Dropped"), loss.dropped) }}
{% else %}
<p>Nothing was dropped: splits and features were taken as given.</p>
{% endif %}
{% if loss.crawled %}
{{ counts("Pictures asked for, by outcome", ("Status", "Reason", "Pictures"), loss.crawled) }}
{% endif %}
</div>
{% endfor %}
</section>

{% macro item(items, index, prefix="", details=(), hit=false) %}
{% set shown = items[index|string] %}
{% set clusters = shown.clusters.items()|map("join", " ")|join(", ") %}
{% set about = ([prefix ~ shown.title] + details|list + ["interests: " ~ clusters])|join("; ") %}
{% if hit %}{% set about = about ~ "; the true next item" %}{% endif %}
<li tabindex="0" title="{{ about }}" aria-label="{{ about }}"{{ ' class=hit' if hit }}>
{% if shown.picture %}<img src="{{ shown.picture }}" alt=""/>{% else %}<span class="none">no picture</span>{% endif %}
<p class="title">{{ prefix }}{{ shown.title }}</p>
<p class="details" aria-hidden="true">{{ prefix }}{{ shown.title }}
{% for line in details %}<br/>{{ line }}{% endfor %}<br/>interests: {{ clusters }}</p>
</li>
{% endmacro %}

<section id="gallery" aria-labelledby="gallery-title">
<h2 id="gallery-title">Recommendations to some users</h2>
<p>Users drawn at random with a fixed seed. Hover over or move the focus to an item for its scores and the interests
(clusters) that it belongs to. The true next item has a green frame where it is among the first ten.</p>
{% for dataset, gallery in galleries.items() %}
<h3>{{ dataset }}</h3>
{% for user in gallery.users %}
<article class="user" aria-labelledby="{{ dataset }}-{{ loop.index }}">
<h4 id="{{ dataset }}-{{ loop.index }}">User {{ loop.index }}</h4>
{% set latest = user.history|length %}
<h5>Bought before{{ ", the latest {} of {}".format(latest, user.length) if user.length > latest }}</h5>
<ol class="items">
{% for index in user.history %}{{ item(gallery["items"], index) }}{% endfor %}
</ol>
<h5>Bought next</h5>
<ol class="items">{{ item(gallery["items"], user.target) }}</ol>
<div class="columns">
{% for run, found in user.runs.items() %}
<div>
<h5>{{ short(run) }}: true next item at rank {{ "{:g}".format(found.rank) }}</h5>
<ol class="items">
{% for entry in found.top %}
{% set details = ["score " ~ "{:.4g}".format(entry.score)] %}
{% for name, part in entry.parts.items() %}
{% set _ = details.append("by " ~ name ~ " alone " ~ "{:.4g}".format(part)) %}
{% endfor %}
{{ item(gallery["items"], entry.item, loop.index ~ ". ", details, entry.item == user.target) }}
{% endfor %}
</ol>
</div>
{% endfor %}
</div>
</article>
{% endfor %}
{% endfor %}
</section>
</main>
</body>
</html>
"""
