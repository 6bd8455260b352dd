# reports/style.gp - what all figures share. Before it come: name (file name without extension),
# heading, xlabel, ylabel, width, height (pixels), series (number of data blocks), lines (those with
# a name of their own), decades (1: x is a logarithm), color, dash (arrays: the style of each block);
# behind it ranges, tics, floor (lowest y), slopes (words) and one of the templates.
# The palette is Okabe and Ito's without black and yellow; points differ in shape as well.
set encoding utf8
set datafile separator tab
array palette[6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
array shape[6] = [7, 5, 9, 13, 11, 15]
set dashtype 1 solid
set dashtype 2 (4, 2)
set dashtype 3 (1, 1.5)
set dashtype 4 (6, 1.5, 1, 1.5)
set dashtype 5 (8, 2)
ink = "#333333"
set border 3 lw 1 lc rgb ink
set tics nomirror out scale 0.6 textcolor rgb ink
set grid lw 0.7 lc rgb "#dddddd" lt 1
set key noenhanced outside right top vertical Left reverse samplen 2.5 spacing 1.25 width 1 \
    textcolor rgb ink
set label 1 heading at graph 0, graph 1 offset 0, 1.3 left noenhanced textcolor rgb ink
set xlabel xlabel noenhanced textcolor rgb ink
set ylabel ylabel noenhanced textcolor rgb ink
set tmargin 3.2
set bars 0.6
svg = sprintf("set terminal svg size %d, %d dynamic background '#ffffff' name '%s' ", \
              width, height, name) . "font 'Helvetica,Arial,sans-serif,14'"
png = sprintf("set terminal pngcairo size %d, %d background '#ffffff' ", 2 * width, 2 * height) \
    . "font 'Sans,11' fontscale 2 linewidth 2 pointscale 2"
