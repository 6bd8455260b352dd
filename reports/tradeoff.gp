# reports/tradeoff.gp - one metric against L0: a line per variant and dictionary size, a point per
# spec, bars for its uncertainty; points are filled for the first size, hollow for the second.
# Columns: L0, low, high, value, low, high.
data = name . ".dat"
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    plot for [i = 1:series] data index i - 1 using 1:4:2:3:5:6 with xyerrorbars \
             lc rgb palette[color[i]] lw 1.2 pt 0 notitle, \
         for [i = 1:series] data index i - 1 using 1:4 with linespoints \
             lc rgb palette[color[i]] lw 2 dt dash[i] \
             pt shape[color[i]] - (dash[i] - 1) % 2 ps (out eq "svg" ? 0.65 : 0.9) \
             title columnheader(1)
    unset output
}
