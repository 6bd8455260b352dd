# reports/path.gp - points joined in their order, a line per spec. Columns: x, y, low, high.
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    plot for [i = 1:series] name . ".dat" index i - 1 using 1:2 with linespoints \
             lc rgb palette[color[i]] lw 2 dt dash[i] pt 7 ps (out eq "svg" ? 0.45 : 0.6) \
             title columnheader(1)
    unset output
}
