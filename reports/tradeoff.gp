# reports/tradeoff.gp - one metric against L0: a line per variant and dictionary size, a point per
# spec, bars for its uncertainty; points are filled for the first size, hollow for the second.
# Series behind the first `lines` are results of other folders: grey points, under the others; their
# first points are drawn again at the end, so that they stand last in the key.
# Columns: L0, low, high, value, low, high.
data = name . ".dat"
grey = "using 1:4 with points lc rgb (dash[i] == 1 ? '#999999' : '#555555') pt shape[color[i]] - 1 ps size "
under = series == lines ? "" : \
    "for [i = lines + 1:series] data index i - 1 " . grey . "notitle, "
last = series == lines ? "" : \
    ", for [i = lines + 1:series] data index i - 1 every ::0::0 " . grey . "title columnheader(1)"
bars = "for [i = 1:lines] data index i - 1 using 1:4:2:3:5:6 with xyerrorbars " \
    . "lc rgb palette[color[i]] lw 1.2 pt 0 notitle, "
points = "for [i = 1:lines] data index i - 1 using 1:4 with linespoints " \
    . "lc rgb palette[color[i]] lw 2 dt dash[i] pt shape[color[i]] - (dash[i] - 1) % 2 ps size " \
    . "title columnheader(1)"
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    size = out eq "svg" ? 0.65 : 0.9
    eval "plot " . under . bars . points . last
    unset output
}
