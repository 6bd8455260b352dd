# reports/map.gp - points of a plane, one colour per spec; the axes have no units.
# Columns: x, y, low, high.
set size ratio -1
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    plot for [i = 1:series] name . ".dat" index i - 1 using 1:2 with points \
             lc rgb palette[color[i]] pt 7 ps (out eq "svg" ? 0.35 : 0.5) title columnheader(1)
    unset output
}
